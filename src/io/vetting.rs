//! Which of a name's addresses are connected to (SEC-1).
//!
//! Forbidden ones are left out, and the others are tried. A name that also has a forbidden address
//! is not more dangerous than one that has not, since nothing is ever sent to an address that was
//! not asked about; and honest names have such mixtures: a machine's own with its link-local
//! address, a service's with an internal and a public one.

use crate::core::address_policy::AddressPolicy;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses that may be connected to, in their order.
pub(super) fn permitted(
    policy: &AddressPolicy,
    addresses: &[IpAddr],
    port: u16,
) -> Vec<SocketAddr> {
    let permit = |address: &SocketAddr| match policy.check_address(*address, is_ours) {
        Ok(()) => true,
        Err(reason) => {
            tracing::debug!("an address was not connected to: {reason}");
            false
        }
    };
    addresses.iter().map(|&ip| SocketAddr::new(ip, port)).filter(permit).collect()
}

/// Whether an address is one of this machine's. The kernel chooses it as the source of datagrams
/// to itself; none is sent.
fn is_ours(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, DISCARD_PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Any port does: nothing is sent.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_forbidden_addresses_of_a_mixture_are_left_out() {
        let addresses: Vec<IpAddr> =
            ["fe80::1", "8.8.8.8", "10.0.0.1", "::ffff:169.254.169.254", "2a00:1450::1"]
                .map(|address| address.parse().unwrap())
                .into();
        let kept = |policy: &AddressPolicy| {
            let kept = permitted(policy, &addresses, 80);
            kept.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>()
        };
        let open = AddressPolicy::new(false, &[]).unwrap();
        assert_eq!(kept(&open), ["8.8.8.8", "10.0.0.1", "2a00:1450::1"]);
        let strict = AddressPolicy::new(true, &[]).unwrap();
        assert_eq!(kept(&strict), ["8.8.8.8", "2a00:1450::1"]);
    }

    #[test]
    fn the_addresses_of_this_machine_are_recognised() {
        assert!(is_ours(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_ours(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
