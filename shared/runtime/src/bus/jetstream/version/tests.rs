use super::*;

#[test]
fn releases_and_builds_are_read() {
    assert_eq!(Version::parse("2.15.1"), Some(Version(2, 15, 1)));
    assert_eq!(Version::parse("2.15.0-dev"), Some(Version(2, 15, 0)));
    assert_eq!(Version::parse("v2.14.0-RC.1+abc"), Some(Version(2, 14, 0)));
}

#[test]
fn what_is_no_version_is_none() {
    for text in ["", "2", "2.15", "2.15.x", "2.15.1.4", "latest", "2.99999999.1"] {
        assert_eq!(Version::parse(text), None, "{text}");
    }
}

#[test]
fn the_gate_refuses_old_and_unknown_servers_and_names_both_versions() {
    for good in ["2.12.0", "2.14.6", "2.14.7", "2.15.1", "2.15.0-dev", "3.0.0"] {
        assert!(admit(good).is_ok(), "{good}");
    }
    for bad in ["2.9.10", "2.11.99", "1.4.1", "", "nightly"] {
        let refused = admit(bad).expect_err(bad);
        assert!(matches!(&refused, BusError::TooOld { found, needed: "2.12.0" } if found == bad), "{refused}");
    }
}
