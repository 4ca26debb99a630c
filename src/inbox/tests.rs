//! The inbox under the standard library's threads, and under loom's model of them.

#[cfg(not(ferrite_loom))]
mod real {
    use crate::inbox::{Doorbell, Inbox, Look, Room};
    use std::cell::Cell;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    #[derive(Default, Debug)]
    struct Count(Cell<u32>);
    impl Doorbell for Count {
        fn ring(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn only_the_first_push_after_idleness_rings() {
        let inbox = Inbox::new(8, Count::default());
        inbox.push(vec![1]).unwrap();
        inbox.push(vec![2]).unwrap();
        assert_eq!((inbox.doorbell.0.get(), inbox.rung_by_callers()), (1, 1));
        assert!(!inbox.unwatch(), "events wait: the ringer must stay awake");
        assert_eq!(inbox.pop(), Some(vec![1]));
        assert_eq!(inbox.pop(), Some(vec![2]));
        inbox.push(vec![3]).unwrap();
        assert_eq!(inbox.rung_by_callers(), 1, "watched: no caller rings");
        inbox.pop();
        assert!(inbox.unwatch());
        inbox.push(vec![4]).unwrap();
        assert_eq!(inbox.rung_by_callers(), 2);
    }

    #[test]
    fn the_ringer_rings_only_for_a_worker_that_does_not_look() {
        let inbox = Inbox::new(8, Count::default());
        inbox.watch();
        let mut seen = 0;
        assert_eq!(inbox.ring_if_neglected(&mut seen), Look::Quiet, "nothing waits");
        inbox.push(vec![1]).unwrap();
        inbox.begin_drain();
        assert_eq!(inbox.ring_if_neglected(&mut seen), Look::Busy);
        assert_eq!(inbox.rung_by_ringer(), 0, "the worker looked since");
        assert_eq!(inbox.ring_if_neglected(&mut seen), Look::Neglected);
        assert_eq!((inbox.rung_by_ringer(), inbox.doorbell.0.get()), (1, 1));
    }

    #[test]
    fn a_full_ring_gives_the_event_back() {
        let inbox = Inbox::new(2, Count::default());
        inbox.push(vec![1]).unwrap();
        inbox.push(vec![2]).unwrap();
        assert_eq!(inbox.push(vec![3]), Err(vec![3]));
        inbox.pop();
        inbox.push(vec![3]).unwrap();
    }

    #[test]
    fn buffers_go_round_and_large_ones_are_freed() {
        let inbox = Inbox::new(2, Count::default());
        let (first, second) = (inbox.buffer(), inbox.buffer());
        let address = first.as_ptr();
        inbox.give_back(first);
        inbox.give_back(second);
        let third = inbox.buffer();
        assert_eq!(third.as_ptr(), address);
        inbox.give_back(Vec::with_capacity(1 << 20));
        inbox.buffer();
        assert!(inbox.buffer().capacity() < 1 << 20);
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicU32);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waiter_is_woken_once_room_is_made() {
        let (room, woken) = (Room::default(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        for _ in 0..3 {
            assert_eq!(room.poll(&mut context, || None::<()>), Poll::Pending);
        }
        room.made();
        assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(room.poll(&mut context, || Some(())), Poll::Ready(()));
        room.made();
        assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}

#[cfg(ferrite_loom)]
mod model {
    use crate::inbox::{Doorbell, Inbox, Room};
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// A doorbell, and the ringer's bed: both are a flag under a mutex, as a socket's byte and a
    /// parked thread's token are.
    #[derive(Debug)]
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Bell {
        fn new() -> Arc<Self> {
            Arc::new(Bell { rung: Mutex::new(false), changed: Condvar::new() })
        }

        fn wait(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.changed.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    #[derive(Debug)]
    struct Rings(Arc<Bell>);
    impl Doorbell for Rings {
        fn ring(&self) {
            *self.0.rung.lock().unwrap() = true;
            self.0.changed.notify_one();
        }
    }

    fn drain_until(inbox: &Inbox<Rings>, wanted: usize, bell: &Bell, ringer: &Bell) {
        let mut got = 0;
        loop {
            inbox.begin_drain();
            while inbox.pop().is_some() {
                got += 1;
            }
            if got >= wanted {
                return;
            }
            bell.wait();
            *ringer.rung.lock().unwrap() = true;
            ringer.changed.notify_one();
        }
    }

    /// The ringer rings while an event waits, and leaves when none does. Between two looks it
    /// waits for the worker to have woken, which a nap would outlast.
    fn leave(inbox: &Inbox<Rings>, bed: &Bell) {
        while !inbox.unwatch() {
            inbox.ring_doorbell();
            bed.wait();
        }
    }

    /// A caller, a worker that sleeps whenever the ring is empty, and a ringer. If an event could
    /// be forgotten, the worker would wait for ever, and loom would report the deadlock. The two
    /// halves of the ringer's day are two models, because loom remembers only seven stores to one
    /// atomic, and forgets their order beyond.
    fn check(ringer_starts_awake: bool, events: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let (bell, bed) = (Bell::new(), Bell::new());
            let inbox = Arc::new(Inbox::new(4, Rings(bell.clone())));
            if ringer_starts_awake {
                inbox.watch();
            }
            let caller = {
                let inbox = inbox.clone();
                thread::spawn(move || {
                    for _ in 0..events {
                        inbox.push(vec![1]).unwrap();
                    }
                })
            };
            let ringer = {
                let (inbox, bed) = (inbox.clone(), bed.clone());
                thread::spawn(move || {
                    if !ringer_starts_awake {
                        bed.wait();
                        inbox.watch();
                    }
                    leave(&inbox, &bed);
                })
            };
            drain_until(&inbox, events, &bell, &bed);
            // The ringer may still sleep: nothing is left to wake it.
            *bed.rung.lock().unwrap() = true;
            bed.changed.notify_one();
            caller.join().unwrap();
            ringer.join().unwrap();
        });
    }

    #[test]
    fn no_event_is_forgotten_when_the_ringer_leaves() {
        check(true, 1);
    }

    #[test]
    fn no_event_is_forgotten_when_the_ringer_is_woken_and_leaves_again() {
        check(false, 2);
    }

    #[test]
    fn no_waiter_sleeps_beside_room() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new(1, Rings(Bell::new())));
            let room = Arc::new(Room::default());
            inbox.push(vec![0]).unwrap();
            let worker = {
                let (inbox, room) = (inbox.clone(), room.clone());
                thread::spawn(move || {
                    assert!(inbox.pop().is_some());
                    room.made();
                })
            };
            loom::future::block_on(std::future::poll_fn(|context| {
                room.poll(context, || inbox.push(vec![1]).ok())
            }));
            worker.join().unwrap();
            assert_eq!(inbox.pop(), Some(vec![1]));
        });
    }
}
