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

    /// A ring whose length is a plain relaxed atomic, so that looking at it orders nothing: the
    /// model must not borrow the mutex's ordering where the real ring has its own.
    #[derive(Debug)]
    pub(in crate::inbox) struct Ring<T> {
        items: Mutex<VecDeque<T>>,
        length: AtomicUsize,
        capacity: usize,
    }

    impl<T> Ring<T> {
        pub(in crate::inbox) fn new(capacity: usize) -> Self {
            Ring { items: Mutex::new(VecDeque::new()), length: AtomicUsize::new(0), capacity }
        }

        pub(in crate::inbox) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().expect("loom mutexes are not poisoned");
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            drop(items);
            self.length.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        pub(in crate::inbox) fn pop(&self) -> Option<T> {
            let item = self.items.lock().expect("loom mutexes are not poisoned").pop_front()?;
            self.length.fetch_sub(1, Ordering::Relaxed);
            Some(item)
        }

        pub(in crate::inbox) fn is_empty(&self) -> bool {
            self.length.load(Ordering::Relaxed) == 0
        }

        pub(in crate::inbox) fn len(&self) -> usize {
            self.length.load(Ordering::Relaxed)
        }
    }
}
