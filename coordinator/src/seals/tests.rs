use super::*;

const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn sent(seals: &Seals) -> Vec<u8> {
    seals.seal(&tenant(), NOON, b"do it".to_vec()).unwrap().1
}

#[test]
fn what_one_coordinator_asks_another_one_of_the_store_takes_once() {
    let (one, other) = (Seals::new([1; 32]), Seals::new([1; 32]));
    let bytes = sent(&one);
    let (id, body) = other.open(&tenant(), NOON, &bytes).unwrap();
    assert_eq!(body, b"do it");
    assert_eq!(other.open(&tenant(), NOON, &bytes), Err(BadSeal::Repeated { id }));
    // The same request sent again is another sending.
    assert!(other.open(&tenant(), NOON, &sent(&one)).is_ok());
}

#[test]
fn what_has_no_proof_or_another_tenants_is_forged() {
    let ours = Seals::new([1; 32]);
    let forged = Err(BadSeal::Forged);
    assert_eq!(ours.open(&tenant(), NOON, &sent(&Seals::new([2; 32]))), forged);
    assert_eq!(ours.open(&"tenant_b".parse().unwrap(), NOON, &sent(&ours)), forged);
    let bytes = sent(&ours);
    let place = bytes.windows(5).position(|part| part == b"do it").unwrap();
    let changed = [&bytes[..place], &b"do IT"[..], &bytes[place + 5..]].concat();
    assert_eq!(ours.open(&tenant(), NOON, &changed), forged);
    assert!(matches!(ours.open(&tenant(), NOON, b"do it"), Err(BadSeal::Unreadable(_))));
}

#[test]
fn a_copy_is_refused_for_as_long_as_its_time_would_hold() {
    let seals = Seals::new([1; 32]);
    let bytes = sent(&seals);
    let (late, early) = (NOON.after(GOOD_FOR), NOON.before(GOOD_FOR));
    let (id, _) = seals.open(&tenant(), early, &bytes).unwrap();
    assert_eq!(seals.open(&tenant(), late, &bytes), Err(BadSeal::Repeated { id }), "the receiver's clock is behind");
    let tick = Duration::from_micros(1);
    for now in [late.after(tick), early.before(tick)] {
        assert_eq!(seals.open(&tenant(), now, &sent(&seals)).map_err(|bad| bad.id().is_some()), Err(true));
    }
    // What would be out of time anyway takes up no room.
    let later = NOON.after(4 * GOOD_FOR);
    seals.open(&tenant(), later, &seals.seal(&tenant(), later, Vec::new()).unwrap().1).unwrap();
    assert_eq!(seals.used.lock().unwrap().ids.len(), 1);
}

#[test]
fn an_answer_is_an_answer_to_its_request_only() {
    let (one, other) = (Seals::new([1; 32]), Seals::new([1; 32]));
    let answer = other.seal_answer([7; 16], b"done".to_vec()).unwrap();
    assert_eq!(one.open_answer([7; 16], &answer).as_deref(), Some(&b"done"[..]));
    assert_eq!(one.open_answer([8; 16], &answer), None);
    assert_eq!(Seals::new([2; 32]).open_answer([7; 16], &answer), None);
    assert_eq!(one.open_answer([7; 16], b"done"), None);
}
