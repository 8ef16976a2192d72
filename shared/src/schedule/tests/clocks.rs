//! Calendars, and clocks that are put forward and back.

use super::*;

const BERLIN: &str = "time_zone: Europe/Berlin";
const NEW_YORK: &str = "time_zone: America/New_York";

#[test]
fn an_expression_goes_by_the_clock_of_its_zone() {
    assert_times(
        &format!("cron: '30 2 * * *'\n{BERLIN}"),
        "2026-01-09T22:00:00Z",
        &["2026-01-10T01:30:00Z", "2026-01-11T01:30:00Z"],
    );
    assert_times(
        &format!("cron: '30 2 * * *'\n{NEW_YORK}"),
        "2026-07-09T22:00:00Z",
        &["2026-07-10T06:30:00Z", "2026-07-11T06:30:00Z"],
    );
    assert_times("cron: '30 2 * * *'", "2026-01-09T22:00:00Z", &["2026-01-10T02:30:00Z"]);
}

#[test]
fn a_time_of_day_in_the_gap_happens_once_right_after_it() {
    // At 02:00 clocks show 03:00.
    assert_times(
        &format!("cron: '30 2 * * *'\n{BERLIN}"),
        "2026-03-28T00:00:00Z",
        &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    );
    assert_times(
        &format!("cron: '30 2 * * *'\n{NEW_YORK}"),
        "2026-03-07T00:00:00Z",
        &["2026-03-07T07:30:00Z", "2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
    );
}

#[test]
fn a_time_of_day_that_comes_twice_happens_the_first_time() {
    // At 03:00 clocks show 02:00.
    assert_times(
        &format!("cron: '30 2 * * *'\n{BERLIN}"),
        "2026-10-24T00:00:00Z",
        &["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    );
    assert_times(
        &format!("cron: '30 1 * * *'\n{NEW_YORK}"),
        "2026-10-31T00:00:00Z",
        &["2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
    );
}

#[test]
fn what_happens_many_times_a_day_goes_by_the_clock_on_the_wall() {
    // Through the gap: 01:30, then 03:00.
    assert_times(
        &format!("cron: '*/30 * * * *'\n{BERLIN}"),
        "2026-03-29T00:00:00Z",
        &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
    );
    // The hour that comes twice: 02:00 and 02:30, and both again.
    assert_times(
        &format!("cron: '*/30 * * * *'\n{BERLIN}"),
        "2026-10-24T23:59:59Z",
        &[
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z",
        ],
    );
    // Two times of day that are both in the gap do not happen on that day.
    assert_times(
        &format!("cron: '0,30 2 * * *'\n{NEW_YORK}"),
        "2026-03-07T08:00:00Z",
        &["2026-03-09T06:00:00Z", "2026-03-09T06:30:00Z"],
    );
}

#[test]
fn a_leap_day_comes_every_four_years_but_for_full_centuries() {
    let years = ["2028", "2032", "2036"].map(|year| format!("{year}-02-29T12:00:00Z"));
    assert_times("cron: '0 12 29 2 *'", "2026-01-01T00:00:00Z", &years.each_ref().map(String::as_str));
    assert_times("cron: '0 12 29 2 *'", "2096-03-01T00:00:00Z", &["2104-02-29T12:00:00Z"]);
}

#[test]
fn seconds_weekdays_and_last_days_can_be_named() {
    assert_times(
        "cron: '15,45 0 9 * * MON'",
        "2026-11-21T00:00:00Z",
        &["2026-11-23T09:00:15Z", "2026-11-23T09:00:45Z", "2026-11-30T09:00:15Z"],
    );
    assert_times("cron: '0 0 L * *'", "2026-02-01T00:00:00Z", &["2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]);
    assert_times("cron: '@weekly'", "2026-11-21T00:00:00Z", &["2026-11-22T00:00:00Z"]);
}

#[test]
fn a_fraction_of_a_second_hides_no_moment_and_repeats_none() {
    let schedule = schedule("cron: '* * * * * *'");
    let next = |text: &str| schedule.timing.next_after(at(text)).unwrap();
    assert_eq!(next("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:01Z"));
    assert_eq!(next("2026-01-01T00:00:00.000001Z"), at("2026-01-01T00:00:01Z"));
    assert_eq!(next("2026-01-01T00:00:00.999999Z"), at("2026-01-01T00:00:01Z"));
    assert_eq!(next("1969-12-31T23:59:59.5Z"), at("1970-01-01T00:00:00Z"));
}

#[test]
fn intervals_count_from_the_epoch_whoever_asks() {
    assert_times("every: 15m", "2026-01-01T00:07:00Z", &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]);
    assert_times("every: 1h\noffset: 5m", "2026-01-01T00:05:00Z", &["2026-01-01T01:05:00Z"]);
    // An interval and an expression together: each moment once.
    assert_times(
        "every: 1h\ncron: '0,20 * * * *'",
        "2026-01-01T00:00:00Z",
        &["2026-01-01T00:20:00Z", "2026-01-01T01:00:00Z", "2026-01-01T01:20:00Z"],
    );
}

#[test]
fn start_and_end_belong_to_it() {
    let bounds = "every: 1h\nstart_at: 2026-01-01T10:00:00Z\nend_at: 2026-01-01T13:00:00+01:00";
    assert_times(
        bounds,
        "2020-01-01T00:00:00Z",
        &["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z"],
    );
    assert_eq!(schedule(bounds).timing.next_after(at("2026-01-01T12:00:00Z")), None);
}

#[test]
fn days_that_are_rare_are_found_and_days_that_are_not_are_not_searched_for() {
    assert_times("cron: '0 0 29 2 *'", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z", "2108-02-29T00:00:00Z"]);
    // The fifth Monday of a February: a leap year whose 29th is one.
    assert_times(
        "cron: '0 0 * 2 MON#5'",
        "2026-01-01T00:00:00Z",
        &["2044-02-29T00:00:00Z", "2072-02-29T00:00:00Z", "2112-02-29T00:00:00Z"],
    );
    assert!(!Cron::parse("0 0 30 2 *").unwrap().names_a_day());
    // Searched to the end of time for each of them, this would not come to an end.
    let both = schedule("cron: '0 0 30 2 *'\nevery: 1s");
    let mut last = at("2026-01-01T00:00:00Z");
    for _ in 0..10_000 {
        last = both.timing.next_after(last).unwrap();
    }
    assert_eq!(last, at("2026-01-01T02:46:40Z"));
}
