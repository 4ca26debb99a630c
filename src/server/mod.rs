//! `ferrite serve`: a RESP server with an embedded keyspace, on top of the public API.

pub mod keyspace;
pub mod reply;
