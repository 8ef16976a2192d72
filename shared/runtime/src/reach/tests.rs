use super::*;

#[test]
fn only_addresses_of_the_internet_are_public() {
    let private = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    for address in private {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
    for address in ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn a_network_holds_its_addresses_and_no_others() {
    let holds =
        |network: &str, address: &str| network.parse::<Allowed>().unwrap().holds(address.parse::<IpAddr>().unwrap());
    assert!(holds("10.1.0.0/16", "10.1.255.255") && !holds("10.1.0.0/16", "10.2.0.0"));
    assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
    assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
    assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1") && holds("::/0", "::1"));
    assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1"));
    for bad in ["10.0.0.0/33", "::/129", "10.0.0.0/x", "", "a b", "host/8"] {
        assert!(bad.parse::<Allowed>().is_err(), "{bad}");
    }
}

fn reach(scope: Scope, allow: &[&str]) -> Reach {
    Reach::new(scope, allow.iter().map(|each| each.parse().unwrap()).collect(), "--allow")
}

fn may(reach: &Reach, url: &str) -> bool {
    reach.check_url(&url.parse().unwrap()).is_ok()
}

#[test]
fn a_scope_says_what_is_reached_without_being_named() {
    let anything = reach(Scope::Anything, &[]);
    assert!(may(&anything, "http://127.0.0.1/") && may(&anything, "http://[::1]/") && may(&anything, "http://here/"));
    let public = reach(Scope::Public, &["10.1.0.0/16"]);
    assert!(may(&public, "http://8.8.8.8/") && may(&public, "http://10.1.2.3/") && may(&public, "http://name/"));
    assert!(!may(&public, "http://127.0.0.1/") && !may(&public, "http://[::1]/") && !may(&public, "http://0x7f.1/"));
    let nothing = reach(Scope::Nothing, &["api.example.com"]);
    assert!(may(&nothing, "https://API.example.com/") && !may(&nothing, "https://example.com/"));
    assert!(!may(&nothing, "http://8.8.8.8/"));
}

/// An operator reads addresses in the log; whoever started the execution does not.
#[test]
fn what_is_out_of_reach_is_named_without_its_address() {
    let error = reach(Scope::Public, &[]).check("db.internal", "10.0.0.7".parse().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the address of db.internal is not public; an operator may allow it (--allow)");
    let error = reach(Scope::Nothing, &[]).check_url(&"http://db.internal/".parse().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("db.internal is not among what may be reached"), "{error}");
}

#[test]
fn a_scope_is_read_as_it_is_written() {
    for scope in [Scope::Anything, Scope::Public, Scope::Nothing] {
        assert_eq!(scope.to_string().parse(), Ok(scope));
    }
    assert!("all".parse::<Scope>().is_err());
}
