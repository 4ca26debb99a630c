//! Where webhooks may lead (SEC-1): which hosts may be named, and which addresses connected to.
//!
//! Three tiers. The first always holds: nothing leads to unspecified, link-local, metadata,
//! multicast and broadcast addresses, nor to this server's own listeners. The second
//! (`block_private`) adds everything that is not the public Internet. The third (`allowed_hosts`)
//! names the only hosts that webhooks may name. An entry that is an address or a network opens
//! the first two for itself.
//!
//! Names are not resolved here. Their addresses are asked about when they are known, each before
//! it is connected to: a name that has one address now may have another next time.

use super::host_rules::{HostRuleError, HostRules};
use super::http::endpoint::Endpoint;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

/// What kind of address it is. Ordered by how strictly it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum AddressKind {
    /// On the public Internet.
    Public,
    /// For documentation, benchmarks, protocols, or for nothing yet.
    Reserved,
    /// Of a private network, of a carrier's (RFC 6598), or a unique local one.
    Private,
    /// This machine.
    Loopback,
    /// Nobody's in particular; many systems take it for this machine.
    Unspecified,
    /// Everybody's on the link.
    Broadcast,
    /// A group's.
    Multicast,
    /// Of the link, as the metadata services of clouds are.
    LinkLocal,
    /// A metadata service that has an address elsewhere.
    Metadata,
}

impl AddressKind {
    /// Whether nothing leads there, in every configuration.
    const fn is_always_forbidden(self) -> bool {
        self as u8 > AddressKind::Loopback as u8
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            AddressKind::Public => "a public",
            AddressKind::Reserved => "a reserved",
            AddressKind::Private => "a private",
            AddressKind::Loopback => "a loopback",
            AddressKind::Unspecified => "an unspecified",
            AddressKind::Broadcast => "a broadcast",
            AddressKind::Multicast => "a multicast",
            AddressKind::LinkLocal => "a link-local",
            AddressKind::Metadata => "a metadata service's",
        })
    }
}

/// Metadata services outside the link-local networks: Azure, Oracle, Alibaba; AWS, EKS, GCP.
const METADATA_V4: [[u8; 4]; 3] = [[168, 63, 129, 16], [192, 0, 0, 192], [100, 100, 100, 200]];
const METADATA_V6: [[u16; 8]; 3] = [
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
    [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
];

/// What kind of address it is. One that carries another in it is of the stricter kind of the two.
pub fn classify(address: IpAddr) -> AddressKind {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        octets if METADATA_V4.contains(&octets) => AddressKind::Metadata,
        [0, ..] => AddressKind::Unspecified,
        [127, ..] => AddressKind::Loopback,
        [169, 254, ..] => AddressKind::LinkLocal,
        [224..=239, ..] => AddressKind::Multicast,
        [255, 255, 255, 255] => AddressKind::Broadcast,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            AddressKind::Private
        }
        // Protocols, 6to4 relays, benchmarks, documentation, and what was never given out.
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressKind {
    let own = match address.segments() {
        segments if METADATA_V6.contains(&segments) => AddressKind::Metadata,
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressKind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => return AddressKind::Loopback,
        // The other way to write an IPv4 address: nothing of its own.
        [0, 0, 0, 0, 0, 0xffff, ..] => AddressKind::Public,
        // NAT64: leads to the IPv4 address in it. Networks without IPv4 live by it.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => AddressKind::Public,
        [0xfe80..=0xfebf, ..] => AddressKind::LinkLocal,
        [0xff00..=0xffff, ..] => AddressKind::Multicast,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressKind::Private,
        // Protocols (Teredo among them), documentation twice, 6to4.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => {
            AddressKind::Reserved
        }
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        // Only 2000::/3 is given out.
        _ => AddressKind::Reserved,
    };
    embedded_v4(address).into_iter().flatten().map(classify_v4).fold(own, AddressKind::max)
}

/// The IPv4 addresses that an IPv6 address may lead to.
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // `::a.b.c.d`, but `::` and `::1` have been dealt with.
        [0, 0, 0, 0, 0, 0, high, low]
        // Mapped, and translated (SIIT).
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        // NAT64.
        | [0x64, 0xff9b, 0, _, _, _, high, low]
        // ISATAP.
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => [v4(high, low), None],
        // NAT64 of a site's own choice: at the end, or behind 48 bits with a byte left out. Where
        // the address is not, there are zeros.
        [0x64, 0xff9b, 1, high, middle, low, end_high, end_low] => {
            [v4(high, middle << 8 | low >> 8), v4(end_high, end_low)]
                .map(|found| found.filter(|address| address.octets()[0] != 0))
        }
        [0x2002, high, low, ..] => [v4(high, low), None],
        // Teredo: the server's, and the client's, turned over.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            [v4(server_high, server_low), v4(!high, !low)]
        }
        _ => [None, None],
    }
}

/// Why a URL may not be a webhook's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Forbidden {
    /// Its host is not in `allowed_hosts`.
    #[error("host '{0}' is not allowed (allowed_hosts)")]
    Host(String),
    /// It leads to an address of a forbidden kind.
    #[error("{0} is {1} address, which webhooks may not lead to unless allowed_hosts has it")]
    Address(IpAddr, AddressKind),
    /// It leads to this server.
    #[error("{0} is this server's own; webhooks may not lead to it unless allowed_hosts has it")]
    OwnListener(SocketAddr),
}

/// Where webhooks may lead. Fixed when the engine starts, but for the listeners that are added.
#[derive(Debug, Default)]
pub struct AddressPolicy {
    block_private: bool,
    /// `None` allows every host.
    allowed: Option<HostRules>,
    own_listeners: RwLock<Vec<SocketAddr>>,
}

impl AddressPolicy {
    /// A policy; an empty list of hosts allows every host.
    ///
    /// # Errors
    /// An entry of `allowed_hosts` that is not one, by its number.
    pub fn new(block_private: bool, allowed_hosts: &[String]) -> Result<Self, HostRuleError> {
        let rules = HostRules::parse(allowed_hosts)?;
        let allowed = (!allowed_hosts.is_empty()).then_some(rules);
        Ok(AddressPolicy { block_private, allowed, own_listeners: RwLock::default() })
    }

    /// Adds a listener of this process, which webhooks may not lead to from now on.
    pub fn add_own_listener(&self, listener: SocketAddr) {
        self.own_listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// What can be said of a URL before its name is resolved: whether its host is allowed, and if
    /// it is an address, that too.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check_endpoint(&self, endpoint: &Endpoint) -> Result<(), Forbidden> {
        if let Some(allowed) = &self.allowed
            && !allowed.names(endpoint.host(), endpoint.address(), endpoint.port())
        {
            return Err(Forbidden::Host(endpoint.host().to_owned()));
        }
        match endpoint.address() {
            Some(address) => {
                self.check_address(SocketAddr::new(address, endpoint.port()), |_| false)
            }
            None => Ok(()),
        }
    }

    /// Whether `address` may be connected to. `is_ours` tells whether an address is one of this
    /// machine's; it is asked only about ports that this process listens on.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check_address(
        &self,
        address: SocketAddr,
        is_ours: impl Fn(IpAddr) -> bool,
    ) -> Result<(), Forbidden> {
        // A network in the list is no wish to talk to oneself; an address with a port is.
        if self.is_own_listener(address, is_ours)
            && !self.allowed.as_ref().is_some_and(|allowed| allowed.opens_exactly(address))
        {
            return Err(Forbidden::OwnListener(address));
        }
        let kind = classify(address.ip());
        let forbidden = match self.block_private {
            true => kind != AddressKind::Public,
            false => kind.is_always_forbidden(),
        };
        if forbidden && !self.allowed.as_ref().is_some_and(|allowed| allowed.opens(address)) {
            return Err(Forbidden::Address(address.ip(), kind));
        }
        Ok(())
    }

    fn is_own_listener(&self, address: SocketAddr, is_ours: impl Fn(IpAddr) -> bool) -> bool {
        let listeners = self.own_listeners.read().unwrap_or_else(PoisonError::into_inner);
        let ip = address.ip().to_canonical();
        listeners.iter().filter(|listener| listener.port() == address.port()).any(|listener| {
            let listens_on = listener.ip().to_canonical();
            match listens_on.is_unspecified() {
                true => classify(ip) == AddressKind::Loopback || is_ours(ip),
                false => listens_on == ip,
            }
        })
    }
}

#[cfg(test)]
#[path = "address_policy_tests.rs"]
mod tests;
