use super::*;

#[test]
fn both_forms_of_the_reply_subject_are_read() {
    let stamp = Some(Stamp { deliveries: 3, published_nanos: 1_700_000_000_000_000_001 });
    assert_eq!(Stamp::parse("$JS.ACK.JOBS.jobs~t~q~high.3.10.11.1700000000000000001.7"), stamp);
    assert_eq!(Stamp::parse("$JS.ACK._.Hx9.JOBS.c.3.10.11.1700000000000000001.7"), stamp);
    assert_eq!(Stamp::parse("$JS.ACK.hub.Hx9.JOBS.c.3.10.11.1700000000000000001.7.token"), stamp);
}

#[test]
fn anything_else_is_no_delivery() {
    for reply in ["", "_INBOX.a.b", "$JS.ACK.JOBS.c.3.10", "$JS.ACK.JOBS.c.x.10.11.1.7", "$JS.ACK.a.b.1.2.3.4.5.6"] {
        assert_eq!(Stamp::parse(reply), None, "{reply}");
    }
}
