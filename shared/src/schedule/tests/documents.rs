//! What a document of a schedule may say, and how it is told what it may not.

use super::*;

/// Codes of the problems with these fields, of a schedule that is made in November 2026.
fn problems(text: &str) -> Vec<&'static str> {
    match Definition::read(&Source { name: "schedule.yaml", text }, Some(at("2026-11-21T12:00:00Z"))) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            let text = problems.to_string();
            assert!(problems.iter().all(|problem| !problem.message.is_empty()), "{text}");
            problems.iter().map(|problem| problem.code).collect()
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_a_code() {
    let table = [
        ("cron: '0 0 30 2 *'", "never-fires"),
        ("cron: '0 0 31 4,6,9,11 *'", "never-fires"),
        ("cron: '0 0 30 2 *'\nevery: 1h", "never-fires"),
        ("cron: '0 0 30 2 *'\nevery: 1h\nend_at: 2030-01-01T00:00:00Z", "never-fires"),
        ("cron: '0 0 1 1 *'\nend_at: 2026-12-31T00:00:00Z", "never-fires"),
        ("every: 1h\nend_at: 2020-01-01T00:00:00Z", "never-fires"),
        ("every: 1h\nstart_at: 2027-02-01T00:00:00Z\nend_at: 2027-01-01T00:00:00Z", "bad-value"),
        ("cron: '* * * *'", "bad-cron"),
        ("cron: '* * * * * * *'", "bad-cron"),
        ("cron: '60 * * * *'", "bad-cron"),
        ("cron: 'every day'", "bad-cron"),
        ("cron: ''", "bad-cron"),
        ("cron: 5", "wrong-type"),
        ("cron: '0 2 * * *'\ntime_zone: Europe/Berlyn", "unknown-time-zone"),
        ("cron: '0 2 * * *'\ntime_zone: CEST", "unknown-time-zone"),
        ("every: 1h\ntime_zone: UTC", "bad-value"),
        ("every: 500ms", "out-of-range"),
        ("every: -1h", "bad-duration"),
        ("every: 1h\noffset: 1h", "out-of-range"),
        ("cron: '0 2 * * *'\noffset: 1m", "bad-value"),
        ("every: 1h\njitter: -5s", "bad-duration"),
        ("every: 1h\njitter: 25h", "out-of-range"),
        ("every: 1h\nmax_fires: 0", "out-of-range"),
        ("every: 1h\nstart_at: tomorrow", "bad-moment"),
        ("every: 1h\nstart_at: '9999-01-01T00:00:00Z'", "out-of-range"),
        ("every: 1h\noverlap: sometimes", "bad-value"),
        ("every: 1h\nmax_buffered: 3", "bad-value"),
        ("every: 1h\noverlap: buffer_all\nmax_buffered: 1001", "out-of-range"),
        ("every: 1h\ncatch_up: 1s", "out-of-range"),
        ("every: 1h\npause_on_failure: maybe", "wrong-type"),
        ("every: 1h\ninputs: { day: '=inputs.day' }", "bad-expression"),
        ("every: 1h\ninputs: { day: '=schedule.' }", "bad-expression"),
        ("every: 1h\ncatchup: 1m", "unknown-field"),
        ("{}", "syntax"),
        ("jitter: 5s", "missing-field"),
    ];
    for (fields, code) in table {
        let found = problems(&format!("name: a\ngraph: g\n{fields}\n"));
        assert!(found.contains(&code), "{fields}: {found:?}");
    }
    assert_eq!(problems("every: 1h"), ["missing-field", "missing-field"]);
    assert_eq!(problems("name: trigger_x\ngraph: g\nevery: 1h"), ["bad-name"]);
    assert_eq!(problems("name: a b\ngraph: ''\nevery: 1h"), ["bad-name", "bad-value"]);
    assert_eq!(problems("name: ..\ngraph: g\nevery: 1h"), ["bad-name"]);
    assert_eq!(problems("[]"), ["wrong-type"]);
    assert_eq!(problems(&format!("name: {}", "x".repeat(MAX_DEFINITION_BYTES))), ["document-limit"]);
}

#[test]
fn a_message_says_where_and_what_to_do() {
    let text = "name: nightly\ngraph: report\ncron: '30 2 * *'\ntime_zone: Europe/Berlyn\n";
    let problems = Definition::read(&Source { name: "s.yaml", text }, None).unwrap_err().to_string();
    for part in ["s.yaml:3:", "it has 4 fields", "five fields: minute", "s.yaml:4:", "did you mean `Europe/Berlin`?"] {
        assert!(problems.contains(part), "{part} is not in\n{problems}");
    }
}

#[test]
fn what_is_stored_reads_back_as_the_same() {
    let text = "name: nightly\ngraph: report@2\ndescription: every night\ninputs: { a: [1, '=schedule.time'] }\ncron: '30 2 \
                * * *'\ntime_zone: Europe/Berlin\nstart_at: 2026-12-01T00:00:00+01:00\nend_at: 2028-01-01T00:00:00Z\n\
                max_fires: 10\njitter: 30s\noverlap: buffer_all\nmax_buffered: 7\ncatch_up: 1h\npause_on_failure: true\n";
    let read = Definition::read(&Source { name: "s.yaml", text }, None).unwrap();
    let again = Definition::read(&Source { name: "s.json", text: read.document() }, None).unwrap();
    assert_eq!((again.document(), &again.timing, &again.policy), (read.document(), &read.timing, &read.policy));
    assert_eq!((again.name.as_str(), again.graph.as_str()), ("nightly", "report@2"));
    assert_eq!(again.timing.start_at, Some(at("2026-11-30T23:00:00Z")));
    assert_eq!(again.policy.catch_up, std::time::Duration::from_secs(3600));
}

#[test]
fn a_schedule_that_has_ended_is_still_read() {
    let text = "name: a\ngraph: g\nevery: 1h\nend_at: 2020-01-01T00:00:00Z";
    assert!(Definition::read(&Source { name: "s.yaml", text }, None).is_ok());
}

#[test]
fn ids_follow_from_tenant_schedule_and_time() {
    let tenant = |name: &str| name.parse::<crate::id::TenantId>().unwrap();
    let (time, other) = (at("2026-01-01T00:00:00Z"), TriggerId::derived("stepstream tests 2026 schedule", &[b"x"]));
    let known = firing_id(&tenant("tenant_a"), id(), time);
    assert_eq!(known, firing_id(&tenant("tenant_a"), id(), time));
    assert_ne!(known, firing_id(&tenant("tenant_b"), id(), time));
    assert_ne!(known, firing_id(&tenant("tenant_a"), other, time));
    assert_ne!(known, firing_id(&tenant("tenant_a"), id(), at("2026-01-01T00:00:01Z")));
    assert_ne!(triggered_id(&tenant("tenant_a"), id(), "k"), triggered_id(&tenant("tenant_a"), id(), "l"));
}
