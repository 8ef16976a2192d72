//! Addresses, networks, and which of them are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Something that may be reached although the scope does not hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Whatever address it has.
    Host(String),
    /// A network: its first address, and how many bits of it count.
    Network(IpAddr, u8),
}

/// Why a text is neither a host nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address, a network such as 10.1.0.0/16, nor the name of a host")]
pub struct BadAllowance(String);

impl FromStr for Allowed {
    type Err = BadAllowance;

    fn from_str(text: &str) -> Result<Self, BadAllowance> {
        let bad = || BadAllowance(text.chars().take(80).collect());
        let widest = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| bad())?;
            let bits: u8 = bits.parse().map_err(|_| bad())?;
            return if bits <= widest(address) { Ok(Allowed::Network(address, bits)) } else { Err(bad()) };
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Allowed::Network(address, widest(address)));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if text.is_empty() || text.len() > 253 || !text.chars().all(fits) {
            return Err(bad());
        }
        Ok(Allowed::Host(text.to_ascii_lowercase()))
    }
}

impl Allowed {
    /// Whether this is the host of that name.
    pub fn is_host(&self, name: &str) -> bool {
        matches!(self, Allowed::Host(host) if host.eq_ignore_ascii_case(name.trim_end_matches('.')))
    }

    /// Whether the address is of this network; an IPv4 address in IPv6 clothes is the IPv4 address.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self, plain(address)) {
            (Allowed::Network(IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (Allowed::Network(IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// An IPv4 address in IPv6 clothes is the IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        v4 => v4,
    }
}

/// An address that belongs to somebody on the Internet: none of a private, local, shared, documented, reserved or
/// multicast network (the IANA special-purpose registries), where metadata services and other people's routers are.
pub fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0 // this network
        || (a == 100 && (64..128).contains(&b)) // shared by carriers (RFC 6598)
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || (a == 192 && b == 88 && c == 99) // 6to4 relays
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || a >= 240) // reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only global unicast is public at all; what is carved out of it, or carries IPv4 inside, is not.
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && second < 0x0200) // Teredo, protocol assignments, ORCHID
        && !(first == 0x2001 && second == 0x0db8) // documentation
        && first != 0x2002 // 6to4
        && !(first == 0x3fff && second < 0x1000) // documentation
}
