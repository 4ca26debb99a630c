//! What the server needs of the webhook engine.
//!
//! A trait, so that the server's tests run against a stub; the one real engine is
//! [`WebhookManager`].

use crate::webhooks::{
    Admission, DeliveryRecord, DrainReport, EngineStats, EventRef, TestReport, WebhookError,
    WebhookInfo, WebhookManager, WebhookOptions, WebhookStats, WebhookUpdate, WhenFull,
};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// A test delivery under way.
pub type TestFuture = Pin<Box<dyn Future<Output = Result<TestReport, WebhookError>> + Send>>;

/// The engine as the server's thread calls it. Nothing but [`Engine::shutdown`] waits.
#[allow(missing_docs, reason = "the names and meanings are those of WebhookManager")]
pub trait Engine: Send {
    /// `Ok(false)`: there is no room in the rings, which the engine empties quickly. A webhook
    /// whose own queue is full counts the event as dropped instead: one endpoint that hangs must
    /// not stop the store. Only one that says `ON_FULL wait` is waited for, while `patient`.
    fn offer(&self, event: &EventRef<'_>, patient: bool) -> Result<bool, WebhookError>;
    fn create(&self, name: &str, url: &str, options: WebhookOptions) -> Result<(), WebhookError>;
    fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError>;
    fn delete(&self, name: &str) -> Result<(), WebhookError>;
    fn enable(&self, name: &str) -> Result<(), WebhookError>;
    fn disable(&self, name: &str) -> Result<(), WebhookError>;
    fn test(&self, name: &str) -> TestFuture;
    fn list(&self) -> Vec<WebhookInfo>;
    fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError>;
    fn stats(&self, name: &str) -> Result<WebhookStats, WebhookError>;
    fn engine_stats(&self) -> EngineStats;
    fn deliveries(&self, name: &str, count: usize) -> Result<Vec<DeliveryRecord>, WebhookError>;
    fn shutdown(&self, deadline: Duration) -> DrainReport;
    fn add_own_listener(&self, listener: SocketAddr);
}

impl Engine for WebhookManager {
    fn offer(&self, event: &EventRef<'_>, patient: bool) -> Result<bool, WebhookError> {
        let when_full = if patient { WhenFull::Drop } else { WhenFull::DropNow };
        Ok(WebhookManager::offer(self, event, when_full)? != Admission::Full)
    }

    fn create(&self, name: &str, url: &str, options: WebhookOptions) -> Result<(), WebhookError> {
        block_on(WebhookManager::create(self, name, url, options))
    }

    fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError> {
        block_on(WebhookManager::update(self, name, update))
    }

    fn delete(&self, name: &str) -> Result<(), WebhookError> {
        block_on(WebhookManager::delete(self, name))
    }

    fn enable(&self, name: &str) -> Result<(), WebhookError> {
        block_on(WebhookManager::enable(self, name))
    }

    fn disable(&self, name: &str) -> Result<(), WebhookError> {
        block_on(WebhookManager::disable(self, name))
    }

    fn test(&self, name: &str) -> TestFuture {
        Box::pin(WebhookManager::test(self, name))
    }

    fn list(&self) -> Vec<WebhookInfo> {
        WebhookManager::list(self)
    }

    fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError> {
        WebhookManager::info(self, name)
    }

    fn stats(&self, name: &str) -> Result<WebhookStats, WebhookError> {
        WebhookManager::stats(self, name)
    }

    fn add_own_listener(&self, listener: SocketAddr) {
        WebhookManager::add_own_listener(self, listener);
    }

    fn engine_stats(&self) -> EngineStats {
        WebhookManager::engine_stats(self)
    }

    fn deliveries(&self, name: &str, count: usize) -> Result<Vec<DeliveryRecord>, WebhookError> {
        WebhookManager::deliveries(self, name, count)
    }

    fn shutdown(&self, deadline: Duration) -> DrainReport {
        block_on(WebhookManager::shutdown(self, deadline))
    }
}

/// Longest sleep between two looks at a future. Its waker ends the sleep; this bound only means
/// that a wake-up which got lost costs a millisecond and not the server.
const PARK_MAX: Duration = Duration::from_millis(1);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `future` on this thread, which sleeps while it waits.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(PARK_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_on_waits_for_another_thread() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            sender.send(7).unwrap();
        });
        let value = block_on(std::future::poll_fn(|_| {
            receiver.try_recv().map_or(Poll::Pending, Poll::Ready)
        }));
        assert_eq!(value, 7);
        sleeper.join().unwrap();
    }
}
