use serde_json::json;
use stepstream_shared::id::TenantId;

use super::*;
use crate::target::Target;

fn here() -> Place {
    Place { target: Target::Data(".stepstream".into()), tenant: TenantId::default_tenant() }
}

#[test]
fn a_wait_is_said_in_words() {
    let said = [
        json!({"reason": "approval", "assignees": [], "policy": "any"}),
        json!({"reason": "approval", "assignees": ["ada", "bob"], "policy": "any"}),
        json!({"reason": "approval", "assignees": ["ada", "bob"], "policy": "all"}),
        json!({"reason": "approval", "assignees": ["ada", "bob", "eve"], "policy": "quorum", "quorum": 2}),
        json!({"reason": "approval", "assignees": [], "policy": "quorum", "quorum": 2}),
        json!({"reason": "user_input", "from": ["ada"]}),
        json!({"reason": "signal", "signal": "paid", "correlation": "17"}),
        json!({"reason": "timer", "for_us": 90_000_000}),
        json!({"reason": "timer", "until": "2026-12-24T18:00:00Z"}),
        json!({"reason": "external"}),
        json!({"reason": "sub_agent", "execution_id": "exec_2"}),
        json!({"reason": "rate_limit", "concurrency": {"key": "payments", "max": 3}}),
        json!({"reason": "rate_limit", "rate": {"key": "api", "max": 10, "per_us": 60_000_000, "burst": 1}}),
    ]
    .map(|wait| words(&wait));
    assert_eq!(
        said,
        [
            "a decision",
            "a decision by ada or bob",
            "decisions by ada, bob, all of them",
            "2 of ada, bob, eve to agree",
            "2 people to agree",
            "an answer by ada",
            "the signal `paid` (17)",
            "1 min 30 s to pass",
            "2026-12-24T18:00:00Z",
            "the result of a program outside",
            "the execution exec_2",
            "one of 3 places under `payments`",
            "its turn at 10 in 1 min 00 s under `api`",
        ]
    );
}

#[test]
fn a_command_names_who_has_not_spoken_and_fills_in_the_form() {
    let form = json!({"type": "object", "required": ["window", "risk"], "properties":
        {"window": {"enum": ["now", "tonight"]}, "risk": {"type": "integer"}, "more": {"type": "string"}}});
    let wait = json!({"node": "sign off", "reason": "approval", "form": form, "decisions": [{"by": "ada"}],
        "wait": {"reason": "approval", "assignees": ["ada", "bob o"]}});
    assert_eq!(
        command("exec_1", &wait, &here()).unwrap(),
        "stepstream approve exec_1 'sign off' --as 'bob o' --form '{\"risk\":0,\"window\":\"now\"}'"
    );
    let wait =
        json!({"node": "paid", "reason": "signal", "form": null, "wait": {"signal": "paid", "correlation": "1 7"}});
    assert_eq!(command("exec_1", &wait, &here()).unwrap(), "stepstream signal exec_1 paid --key '1 7'");
    let wait = json!({"node": "ask", "reason": "user_input", "form": {"type": "string"}, "wait": {"from": []}});
    assert_eq!(command("exec_1", &wait, &here()).unwrap(), "stepstream answer exec_1 ask --value '\"…\"'");
    let wait = json!({"node": "rest", "reason": "timer", "form": null, "wait": {"for_us": 1}});
    assert_eq!(command("exec_1", &wait, &here()), None);
    let wait = json!({"node": "sub", "reason": "sub_agent", "form": null, "wait": {"execution_id": "exec_2"}});
    assert_eq!(command("exec_1", &wait, &here()).unwrap(), "stepstream waits exec_2");
}

#[test]
fn a_command_names_the_step_where_its_node_has_waited_before() {
    let mut wait = json!({"node": "ask", "step_id": "step_7", "reason": "external", "form": null, "wait": {}});
    for (rounds, named) in [(json!([]), "ask"), (json!([1]), "ask"), (json!([2]), "step_7"), (json!([2, 1]), "step_7")]
    {
        wait["iteration"] = rounds;
        assert_eq!(
            command("exec_1", &wait, &here()).unwrap(),
            format!("stepstream answer exec_1 {named} --value '{{}}'")
        );
    }
}

#[test]
fn what_comes_from_a_log_moves_no_cursor() {
    let wait = json!({"reason": "signal", "signal": "a\u{1b}[2J", "correlation": "\n"});
    assert!(!words(&wait).contains(char::is_control));
    let wait = json!({"node": "a\u{7}", "reason": "approval", "form": null, "wait": {"assignees": ["\u{1b}x"]}});
    assert!(!command("exec_1", &wait, &here()).unwrap().contains(char::is_control));
}

#[test]
fn a_paused_execution_says_how_it_goes_on() {
    let waits = json!({"execution_id": "exec_1", "paused": true, "held": false, "reason": "lunch", "waits": []});
    assert_eq!(lines(&waits, &here(), "stepstream resume exec_1"), ["paused: lunch", "  stepstream resume exec_1"]);
}
