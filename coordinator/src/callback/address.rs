//! Which addresses may be called.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Most addresses of one name that are looked at.
const MOST_ADDRESSES: usize = 64;

/// Something that may be called although it is not public.
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
    pub(super) fn is_host(&self, name: &str) -> bool {
        matches!(self, Allowed::Host(host) if host.eq_ignore_ascii_case(name.trim_end_matches('.')))
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
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
pub(super) fn is_public(address: IpAddr) -> bool {
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

/// Finds the addresses of a name.
pub(super) trait Lookup: Send + Sync + 'static {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;
}

/// Asks as every other program of this machine does.
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).take(MOST_ADDRESSES).collect())
        })
    }
}

/// Why an address is not called. The address itself is for the operator's log: whoever may start executions is not to
/// learn what names mean in here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address of {name} is not public; an operator may allow it (--callback-allow)")]
pub(super) struct NotPublic {
    pub(super) name: String,
    pub(super) address: IpAddr,
}

/// Resolves names to addresses that may be called. The connection is made to what this gives and to nothing else, so
/// that nobody can answer once with a public address and once with another.
pub(super) struct Guarded {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) allow: Arc<[Allowed]>,
}

/// Whether this address may be called.
pub(super) fn checked(allow: &[Allowed], name: &str, address: IpAddr) -> Result<IpAddr, NotPublic> {
    if is_public(address) || allow.iter().any(|allowed| allowed.is_host(name) || allowed.holds(address)) {
        Ok(address)
    } else {
        Err(NotPublic { name: name.to_owned(), address })
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allow, name) = (self.lookup.clone(), self.allow.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let found = lookup.lookup(name.clone()).await?;
            // One bad address is reason enough: which of them is used is for chance to decide.
            let checked = found.into_iter().map(|address| checked(&allow, &name, address));
            let addresses = checked.collect::<Result<Vec<IpAddr>, _>>()?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| (address, 0).into()));
            Ok(addresses)
        })
    }
}
