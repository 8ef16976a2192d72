//! What requests may reach, where whoever asks for them is not whoever runs the program.
//!
//! Names are resolved here, every address is checked, and the connection goes to an address that was checked, so a name
//! that changes its meaning in between changes nothing (DNS rebinding). A URL whose host is an address passes no resolver
//! and is checked by [`Reach::check_url`]; so is each redirect, by whoever follows them.

mod address;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

pub use address::{Allowed, BadAllowance, is_public};

/// Most addresses of one name that are looked at.
const MOST_ADDRESSES: usize = 64;

/// What may be reached without being named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Whatever this machine reaches.
    #[default]
    Anything,
    /// Addresses that belong to somebody on the Internet.
    Public,
    /// Nothing: only what is named.
    Nothing,
}

impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        match text {
            "anything" => Ok(Scope::Anything),
            "public" => Ok(Scope::Public),
            "nothing" => Ok(Scope::Nothing),
            _ => Err(BadScope(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Anything => "anything",
            Scope::Public => "public",
            Scope::Nothing => "nothing",
        })
    }
}

/// Why a text names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of anything, public, nothing")]
pub struct BadScope(String);

/// What may be reached. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reach {
    scope: Scope,
    allow: Arc<[Allowed]>,
    /// The option by which an operator allows more.
    option: &'static str,
}

impl Default for Reach {
    /// Anything.
    fn default() -> Self {
        Reach::new(Scope::Anything, Vec::new(), "")
    }
}

/// Why something is not reached. The address is for the operator's log: whoever may start executions is not to learn
/// what names mean in here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; an operator may allow it ({option})", .why.of(.name))]
pub struct OutOfReach {
    pub name: String,
    pub address: Option<IpAddr>,
    why: Why,
    option: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NotPublic,
    NotNamed,
}

impl Why {
    fn of(self, name: &str) -> String {
        match self {
            Why::NotPublic => format!("the address of {name} is not public"),
            Why::NotNamed => format!("{name} is not among what may be reached from here"),
        }
    }
}

impl Reach {
    /// `option` is named in errors as the way to allow more.
    pub fn new(scope: Scope, allow: Vec<Allowed>, option: &'static str) -> Self {
        Reach { scope, allow: allow.into(), option }
    }

    /// Whether nothing is checked at all.
    pub fn is_anything(&self) -> bool {
        self.scope == Scope::Anything
    }

    /// Whether this address may be reached under that name.
    ///
    /// # Errors
    /// If it may not.
    pub fn check(&self, name: &str, address: IpAddr) -> Result<IpAddr, OutOfReach> {
        let inside = match self.scope {
            Scope::Anything => true,
            Scope::Public => is_public(address),
            Scope::Nothing => false,
        };
        if inside || self.allow.iter().any(|allowed| allowed.is_host(name) || allowed.holds(address)) {
            Ok(address)
        } else {
            Err(self.out_of_reach(name, Some(address)))
        }
    }

    /// Whether this URL may be asked for, as far as can be seen from itself: an address is, a name is not yet.
    ///
    /// # Errors
    /// If it may not.
    pub fn check_url(&self, url: &Url) -> Result<(), OutOfReach> {
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => self.check(host, address).map(drop),
            Err(_) => self.check_name(host),
        }
    }

    /// Looking a name up is a request, too, where nothing may be reached but what is named.
    fn check_name(&self, name: &str) -> Result<(), OutOfReach> {
        let may_be = self.scope != Scope::Nothing
            || self.allow.iter().any(|allowed| allowed.is_host(name) || matches!(allowed, Allowed::Network(..)));
        if may_be { Ok(()) } else { Err(self.out_of_reach(name, None)) }
    }

    fn out_of_reach(&self, name: &str, address: Option<IpAddr>) -> OutOfReach {
        let why = if self.scope == Scope::Public { Why::NotPublic } else { Why::NotNamed };
        OutOfReach { name: name.to_owned(), address, why, option: self.option }
    }

    /// A resolver that gives only addresses that may be reached.
    pub fn resolver(&self) -> Arc<dyn Resolve> {
        self.resolver_over(Arc::new(SystemLookup))
    }

    /// As [`Self::resolver`], over another source of addresses.
    pub fn resolver_over(&self, lookup: Arc<dyn Lookup>) -> Arc<dyn Resolve> {
        Arc::new(Guarded { lookup, reach: self.clone() })
    }
}

impl OutOfReach {
    /// The one among the causes of an error, if that is why.
    pub fn cause_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a OutOfReach> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<OutOfReach>() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// All addresses, in no order.
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;
}

/// Asks as every other program of this machine does.
struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).take(MOST_ADDRESSES).collect())
        })
    }
}

/// Resolves names to addresses that may be reached. The connection is made to what this gives and to nothing else, so that
/// nobody can answer once with a public address and once with another.
struct Guarded {
    lookup: Arc<dyn Lookup>,
    reach: Reach,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, reach, name) = (self.lookup.clone(), self.reach.clone(), name.as_str().to_owned());
        Box::pin(async move {
            reach.check_name(&name)?;
            let found = lookup.lookup(name.clone()).await?;
            // One bad address is reason enough: which of them is used is for chance to decide.
            let checked = found.into_iter().map(|address| reach.check(&name, address));
            let addresses = checked.collect::<Result<Vec<IpAddr>, _>>()?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| (address, 0).into()));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
