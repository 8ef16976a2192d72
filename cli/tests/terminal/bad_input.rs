use nix::sys::signal::Signal;

use crate::harness::{Desk, ended, signal};

#[track_caller]
fn says(ran: &crate::harness::Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "no {word:?} in: {}", ran.stderr);
    }
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_bad_graph_is_refused_with_every_place_and_nothing_is_stored() {
    let desk = Desk::new();
    desk.write("bad.yaml", "stepstream: 1\nname: x\nnodes:\n  a: { tsk: echo, next: [{ to: zz }] }\n");
    let ran = desk.expect(2, &["run", "bad.yaml"]);
    says(&ran, &["bad.yaml:4:8", "did you mean `task`?", "bad.yaml:4:32", "`zz`"]);
    assert!(!desk.path().join(".stepstream").exists());
}

#[test]
fn text_that_is_no_graph_is_refused_whatever_it_is() {
    let desk = Desk::new();
    let bombs: [(&str, Vec<u8>, i32); 7] = [
        ("empty.yaml", Vec::new(), 2),
        ("nul.yaml", b"stepstream: 1\0".to_vec(), 2),
        ("latin.yaml", b"name: \xe4".to_vec(), 2),
        ("deep.yaml", "[".repeat(100_000).into_bytes(), 2),
        ("deep.json", "{\"a\":".repeat(100_000).into_bytes(), 2),
        (
            "alias.yaml",
            format!(
                "a: &a [1,1,1,1,1,1,1,1]\n{}",
                ('b'..'m')
                    .map(|c| {
                        let before = char::from_u32(c as u32 - 1).unwrap();
                        format!("{c}: &{c} [{}*{before}]\n", format!("*{before},").repeat(8))
                    })
                    .collect::<String>()
            )
            .into_bytes(),
            2,
        ),
        ("large.yaml", vec![b'a'; 100_000_000], 9),
    ];
    for (name, text, code) in bombs {
        desk.write(name, text);
        desk.expect(code, &["run", name]);
        desk.expect(code, &["validate", name]);
    }
    desk.expect(2, &["validate", "large.yaml", "empty.yaml"]);
}

#[test]
fn an_input_is_json_that_fits_and_is_not_too_large() {
    let desk = Desk::new();
    desk.hello();
    says(&desk.expect(2, &["run", "hello.yaml", "--input", "{\"n\": }"]), &["--input:1:7", "not JSON"]);
    says(&desk.expect(2, &["run", "hello.yaml", "--input", "{\"n\": \"x\"}"]), &["/n", "integer"]);
    says(&desk.expect(2, &["run", "hello.yaml", "--input", "@nowhere.json"]), &["nowhere.json"]);
    desk.write("large.json", format!("\"{}\"", "x".repeat(5_000_000)));
    says(&desk.expect(9, &["run", "hello.yaml", "--input", "@large.json"]), &["4194304"]);
    desk.write("huge.json", vec![b' '; 100_000_000]);
    says(&desk.expect(9, &["run", "hello.yaml", "--input", "@huge.json"]), &["limit"]);
}

#[test]
fn names_that_cannot_be_are_a_wrong_usage_and_names_that_are_not_there_not_found() {
    let desk = Desk::new();
    desk.hello();
    desk.expect(0, &["run", "hello.yaml"]);
    let id = desk.last_execution();
    desk.expect(2, &["get", "execution", "exec_1"]);
    desk.expect(2, &["get", "execution", &id.replace("exec_", "step_")]);
    desk.expect(2, &["run", "hello.yaml", "--tenant", "acme"]);
    desk.expect(7, &["get", "executions", "--data", "nowhere"]);
    let other = "exec_000000000000000000000000000";
    for command in ["resume", "cancel", "events", "replay"] {
        desk.expect(7, &[command, other]);
    }
    desk.expect(7, &["get", "execution", other]);
    // Another tenant's execution looks like one that is not there.
    for command in ["resume", "cancel", "events", "replay"] {
        desk.expect(7, &[command, &id, "--tenant", "tenant_other"]);
    }
}

#[test]
fn a_callable_that_is_not_there_is_told_before_and_fails_the_step() {
    let desk = Desk::new();
    desk.write("g.yaml", "stepstream: 1\nname: g\nnodes:\n  a: { task: nothing, retry: { max_attempts: 1 } }\n");
    let ran = desk.expect(1, &["run", "g.yaml", "-o", "json"]);
    assert!(ran.stderr.starts_with("warning: this process has no callable `nothing`"), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!((&report["state"], &report["error"]["category"]), (&"Failed".into(), &"ToolError".into()));
}

#[test]
fn programs_do_not_run_unless_allowed() {
    let desk = Desk::new();
    desk.slow_graph();
    let ran = desk.expect(1, &["run", "slow.yaml"]);
    assert!(ran.stderr.contains("--allow-process"), "{}", ran.stderr);
    assert_eq!(desk.side(), Vec::<String>::new());
}

#[test]
fn programs_run_only_where_a_switch_says_so_plainly() {
    let desk = Desk::new();
    desk.slow_graph();
    let run = |value: &str| {
        let mut command = desk.command();
        ended(command.args(["run", "slow.yaml"]).env("STEPSTREAM_ALLOW_PROCESS", value).spawn().unwrap())
    };
    for no in ["off", "n", "F", "0"] {
        assert_eq!(run(no).code, 1, "{no}");
    }
    for neither in ["disabled", "maybe"] {
        let ran = run(neither);
        assert_eq!(ran.code, 2, "{ran:#?}");
        says(&ran, &["STEPSTREAM_ALLOW_PROCESS", neither]);
    }
    assert_eq!(desk.side(), Vec::<String>::new());
    assert_eq!(run("on").code, 0);
}

#[test]
fn a_configuration_that_lies_about_allows_no_programs() {
    let desk = Desk::new();
    desk.slow_graph();
    desk.write("stepstream.toml", "allow-process = true\n");
    let ran = desk.expect(1, &["run", "slow.yaml"]);
    says(&ran, &["is ignored", "--config"]);
    assert_eq!(desk.side(), Vec::<String>::new());
    // Whoever names it means it.
    desk.expect(0, &["run", "slow.yaml", "--config", "stepstream.toml"]);
}

#[test]
fn a_directory_in_use_is_a_conflict_that_names_the_process() {
    let desk = Desk::new();
    desk.slow_graph();
    let first = desk.start(&["run", "slow.yaml", "--allow-process"]);
    crate::harness::until("the first run runs", || !desk.side().is_empty());
    let ran = desk.expect(4, &["run", "slow.yaml", "--allow-process"]);
    says(&ran, &[&format!("process {}", first.id())]);
    // Who only reads need not wait.
    desk.expect(0, &["get", "executions"]);
    signal(first.id(), Signal::SIGKILL);
    ended(first);
}

#[test]
fn a_newer_store_is_refused_and_not_touched() {
    let desk = Desk::new();
    desk.hello();
    desk.expect(0, &["run", "hello.yaml"]);
    let statement = "insert into _sqlx_migrations select 99999999, description, installed_on, success, checksum, \
                     execution_time from _sqlx_migrations limit 1";
    crate::reading::tamper(&desk, statement);
    for args in [["run", "hello.yaml"], ["get", "executions"]] {
        let ran = desk.expect(6, &args);
        says(&ran, &["99999999", "newer build"]);
    }
}

#[test]
fn an_unreachable_server_has_its_own_code() {
    let desk = Desk::new();
    desk.hello();
    let nowhere = "http://127.0.0.1:1";
    says(&desk.expect(5, &["run", "hello.yaml", "--server", nowhere]), &[nowhere, "cannot be reached"]);
    desk.expect(5, &["get", "executions", "--server", nowhere]);
    desk.expect(5, &["worker", "--nats", "nats://127.0.0.1:1"]);
    desk.expect(5, &["doctor", "--nats", "nats://127.0.0.1:1"]);
    desk.expect(2, &["run", "hello.yaml", "--server", "127.0.0.1:1"]);
}

#[test]
fn a_role_refuses_what_it_would_ignore() {
    let desk = Desk::new();
    desk.write("c.toml", "");
    for role in ["worker", "coordinator"] {
        for (flag, name) in [(&["--config", "c.toml"][..], "--config"), (&["-q"], "--quiet"), (&["-v"], "--verbose")] {
            let ran = desk.expect(2, &[&[role, "--nats", "nats://127.0.0.1:1"], flag].concat());
            says(&ran, &[name, "RUST_LOG"]);
        }
    }
}

#[test]
fn a_url_that_is_none_is_a_wrong_usage_wherever_it_stands() {
    let desk = Desk::new();
    let id = "exec_000000000000000000000000000";
    for postgres in ["not a url", "mysql://localhost/x", "postgres://host:port/x"] {
        for command in [
            &["get", "executions", "--postgres", postgres][..],
            &["replay", id, "--postgres", postgres],
            &["admin", "rebuild", "--postgres", postgres],
            &["doctor", "--postgres", postgres],
            &["dev", "--port", "0", &format!("--postgres={postgres}")],
            &["coordinator", "--listen", "127.0.0.1:0", "--postgres", postgres],
        ] {
            desk.expect(2, command);
        }
    }
    let nats = "nats://host:port";
    for command in [
        &["worker", "--nats", nats][..],
        &["dev", "--port", "0", &format!("--nats={nats}")],
        &["coordinator", "--listen", "127.0.0.1:0", "--sqlite", "log.db", "--nats", nats],
        &["doctor", "--nats", nats],
    ] {
        desk.expect(2, command);
    }
}

#[test]
fn a_store_that_is_none_is_refused_by_every_command() {
    let desk = Desk::new();
    desk.hello();
    std::fs::create_dir(desk.path().join("d")).unwrap();
    desk.write("d/stepstream.db", vec![b'x'; 8192]);
    let id = "exec_000000000000000000000000000";
    for command in [&["run", "hello.yaml"][..], &["get", "executions"], &["replay", id], &["doctor"], &["resume"]] {
        desk.expect(6, &[command, &["--data", "d"]].concat());
    }
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_and_a_known_one_is_used() {
    let desk = Desk::new();
    desk.hello();
    desk.write("stepstream.toml", "data = 'elsewhere'\n");
    desk.expect(0, &["run", "hello.yaml"]);
    assert!(desk.path().join("elsewhere/stepstream.db").exists());
    desk.write("stepstream.toml", "dta = 'elsewhere'\n");
    says(&desk.expect(2, &["run", "hello.yaml"]), &["dta", "line 1"]);
}

#[test]
fn a_data_directory_that_is_a_file_is_a_wrong_usage() {
    let desk = Desk::new();
    desk.hello();
    says(&desk.expect(2, &["run", "hello.yaml", "--data", "hello.yaml"]), &["hello.yaml"]);
}

/// A script that runs in a mount namespace of its own, where `small` is a disk of 300 KiB. `$0` is the program.
fn with_a_small_disk(desk: &Desk, script: &str) -> crate::harness::Ran {
    std::fs::create_dir(desk.path().join("small")).unwrap();
    let script = format!("mount -t tmpfs -o size=300k none small || exit 77\n{script}");
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_stepstream")]);
    command.current_dir(desk.path()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let ran = ended(command.spawn().expect("unshare, of util-linux, makes the small disk"));
    assert_ne!(ran.code, 77, "this machine allows no mount namespace, so a full disk cannot be tried: {ran:#?}");
    ran
}

#[test]
fn a_disk_without_room_ends_the_run_and_what_was_acknowledged_goes_on_later() {
    let desk = Desk::new();
    desk.slow_graph();
    let ran = with_a_small_disk(
        &desk,
        r#"
        "$0" run slow.yaml --allow-process --detach -q --data small/d > id || exit 1
        head -c 1000000 /dev/zero > small/filler
        "$0" resume --allow-process --data small/d; echo "full $?"
        rm small/filler; mount -o remount,size=20m none small
        "$0" resume --allow-process --data small/d > output; echo "room $?"
        "$0" replay "$(cat id)" --verify --data small/d > verified; echo "verified $?"
        "#,
    );
    assert_eq!(ran.stdout, "full 9\nroom 0\nverified 0\n", "{ran:#?}");
    assert!(ran.stderr.contains("the store cannot write"), "{}", ran.stderr);
}

#[test]
fn a_read_only_directory_cannot_be_run_in_but_can_be_read() {
    let desk = Desk::new();
    desk.hello();
    let ran = with_a_small_disk(
        &desk,
        r#"
        "$0" run hello.yaml -q --data small/d > said || exit 1
        mount -o remount,ro none small
        "$0" run hello.yaml --data small/d; echo "run $?"
        "$0" run hello.yaml --data small/new; echo "new $?"
        "$0" get executions -o json --data small/d > list; echo "get $?"
        "#,
    );
    assert_eq!(ran.stdout, "run 9\nnew 9\nget 0\n", "{ran:#?}");
    assert!(ran.stderr.contains("Read-only file system"), "{}", ran.stderr);
}
