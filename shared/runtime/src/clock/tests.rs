use super::*;

#[test]
fn a_manual_clock_moves_only_when_told() {
    let clock = ManualClock::at(Timestamp::from_micros(5));
    assert_eq!(clock.now(), clock.now());
    clock.advance(Duration::from_millis(1));
    assert_eq!(clock.now(), Timestamp::from_micros(1005));
    clock.set(Timestamp::from_micros(-1));
    assert_eq!(clock.now(), Timestamp::from_micros(-1));
}

#[test]
fn the_system_clock_lives_after_the_year_2025() {
    assert!(SystemClock.now() > "2025-01-01T00:00:00Z".parse().unwrap());
}
