use super::*;
use crate::error::ErrorCategory;
use crate::event::Actor;
use crate::graph::GraphDigest;

const KEY: MacKey = MacKey([3; 32]);

fn outcome(result: OutcomeResult) -> Outcome {
    let (execution, step) = (ExecutionId::from_bytes([1; 20]), StepId::from_bytes([2; 20]));
    let token = KEY.token(&TenantId::default_tenant(), 1, execution, step, 4, 2);
    Outcome {
        protocol: PROTOCOL,
        token,
        claim: ClaimId(9),
        worker: "w".to_owned(),
        report: 1,
        result,
        notes: Vec::new(),
    }
}

fn results(value: &Data) -> [OutcomeResult; 5] {
    let mut error = ExecutionError::new(ErrorCategory::ToolError, "no");
    error.details = Some(value.clone());
    [
        OutcomeResult::Completed { output: value.clone(), duration_us: 3 },
        OutcomeResult::Progress { note: Some(value.clone()) },
        OutcomeResult::Failed { error, duration_us: 3 },
        OutcomeResult::Started,
        OutcomeResult::Released,
    ]
}

#[test]
fn an_outcome_survives_its_bytes() {
    for result in results(&Data::of(&[1, 2]).unwrap()) {
        let sent = outcome(result);
        assert_eq!(Outcome::decode(&sent.encode().unwrap()), Ok(sent));
    }
}

#[test]
fn the_text_of_an_error_is_cut_when_it_comes_in() {
    let mut error = ExecutionError::new(ErrorCategory::ToolError, "");
    error.message = "ü".repeat(crate::error::MAX_MESSAGE_BYTES);
    let sent = outcome(OutcomeResult::Failed { error, duration_us: 3 });
    let OutcomeResult::Failed { error, .. } = Outcome::decode(&sent.encode().unwrap()).unwrap().result else {
        panic!("it failed")
    };
    assert_eq!(error.message.len(), crate::error::MAX_MESSAGE_BYTES);
}

#[test]
fn a_value_of_no_bytes_is_refused_before_it_reaches_the_log() {
    // In the log an empty byte string stands for a value kept beside its event: one from outside would make the log
    // unreadable.
    for result in results(&Data::hole()).into_iter().take(3) {
        let sent = outcome(result).encode().unwrap();
        assert!(matches!(Outcome::decode(&sent), Err(WireError::Malformed(_))));
    }
}

fn forwarded(inputs: Data) -> Forwarded {
    let graph = GraphDigest::from_bytes([5; 20]);
    let what = ForwardedRequest::Start {
        graph,
        inputs,
        request_hash: Some(vec![1; 16]),
        metadata: None,
        breakpoints: Vec::new(),
        background: None,
        parent: None,
        planning: false,
        limits: crate::graph::LimitOverrides::default(),
    };
    let actor = Actor::User("api".to_owned());
    Forwarded { protocol: PROTOCOL, execution: ExecutionId::from_bytes([1; 20]), actor, key: None, trace: None, what }
}

#[test]
fn what_coordinators_exchange_survives_its_bytes() {
    let sent = forwarded(Data::of(&[1, 2]).unwrap());
    assert_eq!(Forwarded::decode(&sent.encode().unwrap()), Ok(sent));
    for answer in [Answer::Done, Answer::KeyConflict, Answer::InvalidInputs(vec!["n".to_owned()])] {
        assert_eq!(Answer::decode(&answer.clone().encode().unwrap()), Ok(answer));
    }
    let hint = Control::Abandon { execution: ExecutionId::from_bytes([1; 20]), ordinal: 2, attempt: 3 };
    assert_eq!(Control::decode(&hint.encode().unwrap()), Ok(hint));
    let unreadable = [&b""[..], b"{", b"\x93\x01\x02\x03", br#"{"type":"unheard_of"}"#];
    for bytes in unreadable {
        assert!(Forwarded::decode(bytes).is_err() && Answer::decode(bytes).is_err() && Control::decode(bytes).is_err());
    }
    assert!(matches!(Control::decode(&[b' '; 5000]), Err(WireError::TooLarge { .. })));
    assert!(matches!(Forwarded::decode(&forwarded(Data::hole()).encode().unwrap()), Err(WireError::Malformed(_))));
    let newer = Forwarded { protocol: PROTOCOL + 1, ..forwarded(Data::null()) }.encode().unwrap();
    assert!(matches!(Forwarded::decode(&newer), Err(WireError::Newer { .. })));
}

#[test]
fn a_message_of_a_newer_protocol_says_so() {
    let newer = Outcome { protocol: PROTOCOL + 1, ..outcome(OutcomeResult::Started) }.encode().unwrap();
    assert_eq!(Outcome::decode(&newer), Err(WireError::Newer { found: u64::from(PROTOCOL) + 1 }));
    let other = rmp_serde::to_vec_named(&serde_json::json!({"protocol": 300, "unheard": "of"})).unwrap();
    assert_eq!(Job::decode(&other), Err(WireError::Newer { found: 300 }));
}

#[test]
fn a_token_holds_for_its_tenant_step_and_attempt_only() {
    let tenant = TenantId::default_tenant();
    let token = outcome(OutcomeResult::Started).token;
    assert!(KEY.verify(&tenant, &token));
    assert!(!KEY.verify(&"tenant_b".parse().unwrap(), &token));
    assert!(!MacKey([4; 32]).verify(&tenant, &token));
    let forged = [
        Token { attempt: 3, ..token.clone() },
        Token { ordinal: 5, ..token.clone() },
        Token { incarnation: 2, ..token.clone() },
        Token { step: StepId::from_bytes([3; 20]), ..token.clone() },
        Token { execution: ExecutionId::from_bytes([2; 20]), ..token.clone() },
    ];
    for token in forged {
        assert!(!KEY.verify(&tenant, &token), "{token:?}");
    }
}
