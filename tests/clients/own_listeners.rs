//! SEC-1: no webhook leads to the server itself.

use crate::server::{Ferrite, Reply};

#[test]
fn no_webhook_leads_to_the_server_itself() {
    let ferrite = Ferrite::start(&["--admin-port", "0"]);
    let admin = ferrite.wait_for_admin_port();
    let mut client = ferrite.client();
    for port in [ferrite.port, admin] {
        let reply = client.line(&format!("WEBHOOK.CREATE w http://127.0.0.1:{port}/"));
        let Reply::Error(error) = reply else { panic!("{reply:?}") };
        assert!(error.contains(&format!("127.0.0.1:{port} is this server's own")), "{error}");
        client.ok(&format!("WEBHOOK.CREATE w http://localhost:{port}/ RETRIES 0"));
        let report = client.line("WEBHOOK.TEST w");
        assert_eq!(*report.field("result"), Reply::Bulk(b"failure".to_vec()));
        assert_eq!(*report.field("error"), Reply::Bulk(b"address-forbidden".to_vec()));
        client.ok("SET k v");
        let log = loop {
            match client.line("WEBHOOK.DELIVERIES w") {
                Reply::Array(log) if !log.is_empty() => break log,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!(*log[0].field("error"), Reply::Bulk(b"address-forbidden".to_vec()));
        assert_eq!(client.line("WEBHOOK.DELETE w"), Reply::ok());
    }
}
