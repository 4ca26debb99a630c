//! What every layer shares: limits, ids, time and hashing. Names no other layer.

pub mod hash;
pub mod id;
pub mod limits;
pub mod oneshot;
pub mod random;
pub mod time;
