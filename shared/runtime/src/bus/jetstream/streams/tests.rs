use super::*;

fn jobs() -> Wanted {
    let [jobs, ..] = streams(&JetStreamOptions::default());
    jobs
}

#[test]
fn the_same_settings_are_accepted_and_left_out_zeros_are_the_same() {
    let mut found = jobs().settings;
    assert_eq!(found["max_age"], 0);
    found.as_object_mut().unwrap().remove("max_age");
    found["something_new"] = json!(true);
    jobs().compare("stream JOBS", &found).unwrap();
}

#[test]
fn every_difference_is_named_with_what_was_found_and_wanted() {
    let mut found = jobs().settings;
    found["retention"] = json!("limits");
    found.as_object_mut().unwrap().remove("duplicate_window");
    let refused = jobs().compare("stream JOBS", &found).unwrap_err().to_string();
    assert!(refused.contains(r#"retention is "limits", wanted "workqueue""#), "{refused}");
    assert!(refused.contains("duplicate_window is null, wanted 120000000000"), "{refused}");
}

#[test]
fn only_one_replica_is_written_asynchronously() {
    let with = |replicas| {
        let [jobs, ..] = streams(&JetStreamOptions { replicas, async_persistence: true, ..Default::default() });
        jobs.settings["persist_mode"].clone()
    };
    assert_eq!(with(1), json!("async"));
    assert_eq!(with(3), Value::Null);
}
