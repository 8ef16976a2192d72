use proptest::prelude::*;

use super::*;

/// Expressions of every kind: fixed, stepped, rare, in zones of both hemispheres and of odd offsets.
fn timing() -> impl Strategy<Value = String> {
    let cron = prop_oneof![
        (0..60_u8, 0..24_u8).prop_map(|(minute, hour)| format!("{minute} {hour} * * *")),
        (1..30_u8).prop_map(|step| format!("*/{step} * * * *")),
        (1..30_u8, 0..60_u8).prop_map(|(step, minute)| format!("*/{step} {minute} * * * *")),
        (0..60_u8, 0..24_u8, 1..29_u8, 1..13_u8).prop_map(|(m, h, d, month)| format!("{m} {h} {d} {month} *")),
        (0..60_u8, 0..24_u8, 0..7_u8).prop_map(|(m, h, day)| format!("{m} {h} * * {day}")),
        (0..60_u8).prop_map(|minute| format!("{minute},{} 1-3 * * *", (minute + 7) % 60)),
    ];
    let zone = prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "America/Sao_Paulo",
        "Pacific/Apia",
    ]);
    let every = prop::option::of((1..100_000_u32, 0..100_000_u32));
    (cron, zone, every, prop::bool::ANY).prop_map(|(cron, zone, every, by_cron)| match every {
        Some((every, offset)) if by_cron => {
            format!("cron: '{cron}'\ntime_zone: {zone}\nevery: {every}s\noffset: {}s", offset % every)
        }
        Some((every, offset)) => format!("every: {every}s\noffset: {}s", offset % every),
        None => format!("cron: '{cron}'\ntime_zone: {zone}"),
    })
}

/// 1970 to 2200, any fraction of a second.
fn moment() -> impl Strategy<Value = Timestamp> {
    (0..7_258_118_400_000_000_i64).prop_map(Timestamp::from_micros)
}

proptest! {
    #[test]
    fn nominal_times_only_increase_and_none_lies_between(fields in timing(), after in moment(), part in 0..1_000_000_u64) {
        let schedule = schedule(&fields);
        let mut last = after;
        for _ in 0..20 {
            let next = schedule.timing.next_after(last).unwrap();
            prop_assert!(next > last, "{} after {}", next, last);
            // Whatever moment in between one asks from, it is the same.
            let between = last.after(next.since(last).mul_f64(part as f64 / 1e6));
            if between < next {
                prop_assert_eq!(schedule.timing.next_after(between), Some(next));
            }
            last = next;
        }
    }

    #[test]
    fn jitter_is_bounded_and_the_same_for_everybody(after in moment(), jitter in 1..86_400_u32) {
        let schedule = schedule(&format!("every: 1m\njitter: {jitter}s"));
        let other = TriggerId::derived("stepstream tests 2026 schedule", &[b"two"]);
        let next = schedule.timing.next_after(after).unwrap();
        for id in [id(), other] {
            let fires = schedule.timing.fires_at(id, next);
            prop_assert!(next <= fires && fires < next.after(std::time::Duration::from_secs(jitter.into())));
            prop_assert_eq!(fires, schedule.timing.fires_at(id, next));
            prop_assert!(fires < schedule.timing.next_after(next).unwrap(), "each is carried out before the next one has come");
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_refused(text in "[-0-9*/,LW#?@A-Z +]{0,40}") {
        if let Ok(cron) = Cron::parse(&text) {
            let after = at("2026-01-01T00:00:00Z");
            if let Some(next) = cron.next_after(after, chrono_tz::Europe::Berlin) {
                prop_assert!(next > after);
            }
        }
    }

    #[test]
    fn every_nominal_time_is_dealt_with_once_whatever_is_in_the_way(
        overlap in prop::sample::select(vec!["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"]),
        lasting in prop::collection::vec(0..9_i64, 1..8),
        absences in prop::collection::vec(1..120_i64, 1..40),
    ) {
        let schedule = schedule(&format!("every: 1s\ncatch_up: 10s\noverlap: {overlap}"));
        let begin = at("2026-01-01T00:00:00Z");
        let mut state = ScheduleState::new(begin);
        let mut now = begin;
        let mut started: Vec<Timestamp> = Vec::new();
        // When what runs will have ended.
        let mut ends: Vec<(crate::id::ExecutionId, Timestamp)> = Vec::new();
        for (round, absence) in absences.iter().enumerate() {
            now = Timestamp::from_micros(now.as_micros() + absence * 500_000);
            for (execution, end) in &ends {
                if *end <= now {
                    state.ended(&schedule, *execution, false, now);
                }
            }
            loop {
                match state.turn(id(), &schedule, now) {
                    Turn::Start(firing) => {
                        let execution = firing_id(&crate::id::TenantId::default_tenant(), id(), firing.time);
                        started.push(firing.time);
                        let length = lasting[(round + started.len()) % lasting.len()];
                        ends.push((execution, Timestamp::from_micros(now.as_micros() + length * 1_000_000)));
                        state.started(&schedule, &firing, execution, now);
                    }
                    Turn::Cancel(executions) => state.cancelled(&executions),
                    Turn::Look(times) => {
                        prop_assert!(!times.is_empty());
                        state.settle_missed(id(), &schedule, &[], now);
                    }
                    Turn::Rest { .. } => break,
                }
            }
            let running = state.running.len();
            prop_assert!(overlap == "allow_all" || running <= 1, "{} run", running);
            prop_assert!(overlap == "buffer_all" || state.pending.len() <= 1);
        }
        let unique: std::collections::BTreeSet<_> = started.iter().collect();
        prop_assert_eq!(unique.len(), started.len());
        let passed = (state.cursor.as_micros() - begin.as_micros()) / 1_000_000;
        let counts = &state.counts;
        let dealt_with = counts.started + counts.skipped + counts.missed + state.pending.len() as u64;
        prop_assert_eq!(dealt_with, u64::try_from(passed).unwrap());
        prop_assert_eq!(counts.started, started.len() as u64);
    }
}
