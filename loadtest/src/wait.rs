//! Futures of the engine, without an executor.

use std::time::Duration;

/// Waits for a future of the engine; most are ready at once, so looking again each millisecond is
/// good enough.
pub fn wait<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
