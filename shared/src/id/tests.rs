use super::*;

#[test]
fn an_id_survives_its_text() {
    for byte in [0_u8, 1, 127, 255] {
        let id = ExecutionId::from_bytes([byte; ID_BYTES]);
        assert_eq!(id.to_string().len(), "exec_".len() + 27);
        assert_eq!(id.to_string().parse::<ExecutionId>(), Ok(id));
    }
}

#[test]
fn an_id_under_another_prefix_is_refused() {
    let step = StepId::from_bytes([7; ID_BYTES]).to_string();
    assert!(matches!(step.parse::<ExecutionId>(), Err(ParseIdError::Prefix { expected: "exec_", .. })));
}

#[test]
fn a_malformed_id_is_refused_with_the_reason() {
    for (text, wanted) in [
        ("exec_", "27 base-62"),
        ("exec_../../../../etc/passwd00000", "may not stand"),
        ("exec_zzzzzzzzzzzzzzzzzzzzzzzzzzz", "more than 20 bytes"),
        ("exec_0000000000000000000000000000", "found 28"),
        ("exec_00000000000000000000000000\0", "may not stand"),
        ("", "starts with"),
    ] {
        let error = text.parse::<ExecutionId>().unwrap_err().to_string();
        assert!(error.contains(wanted), "{text:?}: {error}");
    }
}

#[test]
fn an_id_is_text_in_json_and_bytes_in_storage() {
    let id = ExecutionId::from_bytes([9; ID_BYTES]);
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    let stored = rmp_serde::to_vec_named(&id).unwrap();
    assert_eq!(stored.len(), 22);
    assert_eq!(rmp_serde::from_slice::<ExecutionId>(&stored).unwrap(), id);
}

#[test]
fn a_tenant_name_is_safe_in_a_subject() {
    assert!("tenant_default".parse::<TenantId>().is_ok());
    for bad in ["tenant_", "tenant_a.b", "tenant_*", "tenant_>", "tenant_a b", "default", "tenant_é", "tenant_a\0"] {
        assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
    }
    assert!(format!("tenant_{}", "a".repeat(65)).parse::<TenantId>().is_err());
}

#[test]
fn derived_parts_do_not_run_together() {
    assert_ne!(StepId::derived("d", &[b"ab", b"c"]), StepId::derived("d", &[b"a", b"bc"]));
}
