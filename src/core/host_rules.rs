//! Lists of hosts, as `allowed_hosts` and `no_proxy` are written.
//!
//! An entry is a name (`api.example.com`), the names below one (`*.example.com`), an address
//! (`10.0.0.1`, `[::1]`), each with or without a port (`api.example.com:8443`); a network
//! (`10.0.0.0/8`); or `*` for every host. Names are compared in the form that [`Endpoint`] gives
//! them: lower case, IDNA in ASCII, no dot at the end.

use super::http::endpoint::Endpoint;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// An entry of a list of hosts that is none, by its place in the list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "entry {place} ('{entry}') is not a host: write a name, '*.' and a name, an address, each with \
     or without ':port', a network such as 10.0.0.0/8, or '*'"
)]
pub struct HostRuleError {
    /// Which entry, from 1.
    pub place: usize,
    /// What it says.
    pub entry: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Host {
    Any,
    Name(String),
    /// Begins with the dot.
    Below(String),
    Network(IpNet),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    host: Host,
    /// `None` for every port.
    port: Option<u16>,
}

/// A list of hosts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostRules {
    rules: Vec<Rule>,
}

impl HostRules {
    /// Reads a list.
    ///
    /// # Errors
    /// The first entry that is none.
    pub fn parse(entries: &[String]) -> Result<HostRules, HostRuleError> {
        let rule = |(index, entry): (usize, &String)| {
            let error = || HostRuleError { place: index + 1, entry: entry.clone() };
            parse_rule(entry.trim()).ok_or_else(error)
        };
        let rules = entries.iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        Ok(HostRules { rules })
    }

    /// Whether the list names a URL's host: its name, or the address that stands in its place.
    pub fn names(&self, name: &str, address: Option<IpAddr>, port: u16) -> bool {
        let address = address.map(|address| address.to_canonical());
        self.rules.iter().any(|rule| {
            rule.port.is_none_or(|wanted| wanted == port)
                && match (&rule.host, address) {
                    (Host::Any, _) => true,
                    (Host::Name(wanted), None) => wanted == name,
                    (Host::Below(parent), None) => {
                        name.len() > parent.len() && name.ends_with(parent)
                    }
                    (Host::Network(network), Some(address)) => network.contains(&address),
                    _ => false,
                }
        })
    }

    /// Whether the list has the address, or a network that it is in, for its port.
    pub fn opens(&self, address: SocketAddr) -> bool {
        self.opening(address).next().is_some()
    }

    /// Whether the list has exactly this address with this port.
    pub fn opens_exactly(&self, address: SocketAddr) -> bool {
        self.opening(address).any(|rule| rule.port.is_some())
    }

    fn opening(&self, address: SocketAddr) -> impl Iterator<Item = &Rule> {
        let ip = address.ip().to_canonical();
        self.rules.iter().filter(move |rule| {
            rule.port.is_none_or(|wanted| wanted == address.port())
                && matches!(&rule.host, Host::Network(network) if network.contains(&ip))
        })
    }
}

fn parse_rule(entry: &str) -> Option<Rule> {
    if entry == "*" {
        return Some(Rule { host: Host::Any, port: None });
    }
    if entry.contains('/') {
        let network: IpNet = entry.parse().ok()?;
        return Some(Rule { host: Host::Network(network.trunc()), port: None });
    }
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(Rule { host: network_of(address), port: None });
    }
    let (below, rest) = match entry.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, entry),
    };
    // One parser for URLs and for what they are compared with.
    let endpoint = Endpoint::parse(&format!("http://{rest}/")).ok()?;
    if endpoint.path_and_query() != "/" || rest.contains('?') {
        return None;
    }
    let has_port = rest.rfind(':').is_some_and(|colon| !rest[colon..].contains(']'));
    let host = match (endpoint.address(), below) {
        (Some(_), true) => return None,
        (Some(address), false) => network_of(address),
        (None, true) => Host::Below(format!(".{}", endpoint.host())),
        (None, false) => Host::Name(endpoint.host().to_owned()),
    };
    Some(Rule { host, port: has_port.then(|| endpoint.port()) })
}

fn network_of(address: IpAddr) -> Host {
    Host::Network(address.to_canonical().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(entries: &[&str]) -> HostRules {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        HostRules::parse(&entries).unwrap()
    }

    /// Whether a list of one entry names the host of a URL.
    fn names(entry: &str, url: &str) -> bool {
        let endpoint = Endpoint::parse(url).unwrap();
        rules(&[entry]).names(endpoint.host(), endpoint.address(), endpoint.port())
    }

    #[test]
    fn hosts_are_compared_in_their_canonical_form() {
        for (entry, url, verdict) in [
            ("api.example.com", "http://API.Example.com./", true),
            ("API.Example.com.", "http://api.example.com/", true),
            ("bücher.example", "http://xn--bcher-kva.example/", true),
            ("api.example.com", "http://evil-api.example.com/", false),
            ("api.example.com", "http://api.example.com.evil.test/", false),
            ("example.com", "http://api.example.com/", false),
            ("*.Example.ORG", "http://a.example.org/", true),
            ("*.example.org", "http://a.b.example.org:81/", true),
            ("*.example.org", "http://example.org/", false),
            ("*.example.org", "http://evilexample.org/", false),
            ("example.com:8443", "https://example.com:8443/", true),
            ("example.com:8443", "https://example.com/", false),
            ("example.com:80", "http://example.com/", true),
            ("example.com:443", "http://example.com/", false),
            ("*.example.com:443", "https://a.example.com/", true),
            ("10.0.0.1", "http://10.0.0.1:99/", true),
            ("10.0.0.1", "http://[::ffff:10.0.0.1]/", true),
            ("10.0.0.1", "http://0x0a.1/", true),
            ("10.0.0.1:80", "http://10.0.0.1:81/", false),
            ("10.0.0.0/8", "http://10.200.3.4/", true),
            ("10.0.0.0/8", "http://11.0.0.1/", false),
            // A name is not an address, whatever it resolves to.
            ("10.0.0.0/8", "http://ten.example/", false),
            ("::1", "http://[::1]/", true),
            ("[::1]", "http://[0:0::1]:8080/", true),
            ("[::1]:80", "http://[::1]:8080/", false),
            ("fd00::/8", "http://[fd12::1]/", true),
            ("*", "http://anything.test/", true),
            ("*", "http://10.0.0.1/", true),
        ] {
            assert_eq!(names(entry, url), verdict, "{entry} {url}");
        }
    }

    #[test]
    fn only_addresses_and_networks_open() {
        let open = |entry: &str, address: &str| rules(&[entry]).opens(address.parse().unwrap());
        for (entry, address, verdict) in [
            ("10.0.0.0/8", "10.1.2.3:80", true),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]:80", true),
            ("10.1.2.3:80", "10.1.2.3:80", true),
            ("10.1.2.3:80", "10.1.2.3:81", false),
            ("*", "10.1.2.3:80", false),
            ("localhost", "127.0.0.1:80", false),
        ] {
            assert_eq!(open(entry, address), verdict, "{entry} {address}");
        }
        let rules = rules(&["127.0.0.0/8", "127.0.0.1:80"]);
        assert!(rules.opens_exactly("127.0.0.1:80".parse().unwrap()));
        assert!(!rules.opens_exactly("127.0.0.1:81".parse().unwrap()));
    }

    #[test]
    fn entries_that_are_none_are_named() {
        for entry in [
            "",
            " ",
            "a b",
            "http://example.com",
            "example.com/hook",
            "example.com?",
            "user@host",
            "example.com:0",
            "example.com:",
            "10.0.0.0/33",
            "*.10.0.0.1",
            "*.",
            "a.*.b",
            "**",
            "[::1",
        ] {
            let entries = ["ok.example".to_owned(), entry.to_owned()];
            let error = HostRules::parse(&entries).unwrap_err();
            assert_eq!((error.place, error.entry.as_str()), (2, entry));
        }
    }
}
