use super::*;

#[test]
fn a_url_is_shown_without_its_secrets() {
    assert_eq!(without_password("nats://a:b@host:4222"), "nats://***@host:4222");
    assert_eq!(without_password("nats://tok@h:1,nats://x:p@ss@i:2"), "nats://***@h:1,nats://***@i:2");
    assert_eq!(without_password("user:pass@host"), "***@host");
    assert_eq!(without_password("nats://host:4222"), "nats://host:4222");
}

#[test]
fn the_pause_grows_to_its_limit_and_not_beyond() {
    assert_eq!(reconnect_pause(0), FIRST_RECONNECT_PAUSE);
    assert_eq!(reconnect_pause(2), FIRST_RECONNECT_PAUSE * 2);
    assert_eq!(reconnect_pause(usize::MAX), MAX_RECONNECT_PAUSE);
}

#[test]
fn only_a_connection_after_a_loss_counts_as_a_reconnection() {
    let (reconnected, mut seen) = watch::channel(0);
    note(&Event::Connected, &reconnected);
    assert!(!seen.has_changed().unwrap());
    note(&Event::Disconnected, &reconnected);
    assert!(!seen.has_changed().unwrap());
    note(&Event::Connected, &reconnected);
    assert!(seen.has_changed().unwrap());
    seen.mark_unchanged();
    note(&Event::Connected, &reconnected);
    assert!(!seen.has_changed().unwrap());
}

#[test]
fn escapes_in_a_password_are_read() {
    assert_eq!(decoded("p%40ss%2Fword"), "p@ss/word");
    assert_eq!(decoded("100%"), "100%");
    assert_eq!(decoded("%4"), "%4");
    assert_eq!(decoded("%zz%41"), "%zzA");
}
