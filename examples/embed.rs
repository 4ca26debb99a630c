//! The specification's example: an application that embeds the engine, here under tokio.
//!
//! `cargo run --example embed [URL]`; without a URL it sends to a small receiver of its own.

use ferrite::webhooks::{
    WebhookAuth, WebhookConfig, WebhookEvent, WebhookManager, WebhookOptions, WebhookTrigger,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => start_receiver()?,
    };
    let manager = WebhookManager::new(WebhookConfig::default());

    // Create webhook
    manager
        .create(
            "order-updates",
            &url,
            WebhookOptions {
                pattern: Some("order:*".to_string()),
                events: vec![WebhookEvent::Set, WebhookEvent::Del],
                auth: Some(WebhookAuth::Bearer("token123".to_string())),
                retries: 3,
                ..Default::default()
            },
        )
        .await?;

    // Trigger webhook
    manager
        .trigger(WebhookTrigger {
            event: WebhookEvent::Set,
            key: "order:123".to_string(),
            value: Some(b"order data".to_vec()),
            ..Default::default()
        })
        .await?;

    // Wait for what is pending, then get statistics
    manager.shutdown(std::time::Duration::from_secs(10)).await;
    let stats = manager.stats("order-updates")?;
    println!("Deliveries: {}, Failures: {}", stats.deliveries, stats.failures);

    Ok(())
}

/// Answers 200 to every request and prints its body.
fn start_receiver() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/webhook", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(read_half) = stream.try_clone() else { continue };
            let mut reader = BufReader::new(read_half);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                if line == "\r\n" {
                    let mut body = vec![0; length];
                    if reader.read_exact(&mut body).is_err() {
                        break;
                    }
                    println!("received {}", String::from_utf8_lossy(&body));
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
                line.clear();
            }
        }
    });
    Ok(url)
}
