//! Settings of the server, from the command line and the configuration file.

use crate::webhooks::WebhookConfig;
use std::fmt;
use std::net::IpAddr;

/// Settings of `ferrite serve`. `Debug` does not show the password.
#[derive(Clone, PartialEq)]
pub struct ServerSettings {
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// Port for RESP; 0 lets the system choose.
    pub port: u16,
    /// Port for HTTP health checks; `None` for none.
    pub admin_port: Option<u16>,
    /// Password that clients must give.
    pub requirepass: Option<String>,
    /// Number of databases.
    pub databases: u32,
    /// Most clients connected at once.
    pub maxclients: usize,
    /// Clients that sent nothing for this many seconds are disconnected; 0 for never.
    pub timeout_seconds: u64,
    /// Least severe level that is logged, unless the environment says otherwise.
    pub log_level: String,
    /// How long a stop waits for pending deliveries, in milliseconds.
    pub shutdown_timeout_ms: u64,
    /// The engine's configuration.
    pub webhooks: WebhookConfig,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            bind: vec![IpAddr::from([127, 0, 0, 1])],
            port: 6379,
            admin_port: None,
            requirepass: None,
            databases: 16,
            maxclients: 10_000,
            timeout_seconds: 0,
            log_level: "info".to_owned(),
            shutdown_timeout_ms: 10_000,
            webhooks: WebhookConfig::default(),
        }
    }
}

impl ServerSettings {
    /// Whether the server can be reached from other machines.
    pub fn is_reachable_from_elsewhere(&self) -> bool {
        !self.bind.iter().all(IpAddr::is_loopback)
    }
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerSettings")
            .field("bind", &self.bind)
            .field("port", &self.port)
            .field("admin_port", &self.admin_port)
            .field("requirepass", &self.requirepass.as_ref().map(|_| "********"))
            .field("databases", &self.databases)
            .field("maxclients", &self.maxclients)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("log_level", &self.log_level)
            .field("shutdown_timeout_ms", &self.shutdown_timeout_ms)
            .field("webhooks", &self.webhooks)
            .finish()
    }
}
