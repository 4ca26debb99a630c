//! The primitives the inbox is made of: the standard library's and crossbeam's, or loom's models
//! of them under `--cfg ferrite_loom`.
//!
//! crossbeam's `ArrayQueue` is not loom-aware, so loom sees a mutex-backed ring with the same
//! methods: what the model checks is our flag and fence protocol around the ring.

#[cfg(not(ferrite_loom))]
pub(super) use self::real::*;
#[cfg(not(ferrite_loom))]
mod real {
    pub(in crate::inbox) use crossbeam_queue::ArrayQueue as Ring;
    pub(in crate::inbox) use std::sync::Mutex;
    pub(in crate::inbox) use std::sync::atomic::{
        AtomicBool, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

#[cfg(ferrite_loom)]
pub(super) use self::model::*;
#[cfg(ferrite_loom)]
mod model {
    pub(in crate::inbox) use loom::sync::Mutex;
    pub(in crate::inbox) use loom::sync::atomic::{
        AtomicBool, AtomicU64, AtomicUsize, Ordering, fence,
    };
    use std::collections::VecDeque;

    #[derive(Debug)]
    pub(in crate::inbox) struct Ring<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> Ring<T> {
        pub(in crate::inbox) fn new(capacity: usize) -> Self {
            Ring { items: Mutex::new(VecDeque::new()), capacity }
        }

        pub(in crate::inbox) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().expect("loom mutexes are not poisoned");
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(in crate::inbox) fn pop(&self) -> Option<T> {
            self.items.lock().expect("loom mutexes are not poisoned").pop_front()
        }

        pub(in crate::inbox) fn is_empty(&self) -> bool {
            self.items.lock().expect("loom mutexes are not poisoned").is_empty()
        }

        pub(in crate::inbox) fn len(&self) -> usize {
            self.items.lock().expect("loom mutexes are not poisoned").len()
        }
    }
}
