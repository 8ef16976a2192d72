use super::*;

fn queue(tenant: &str, name: &str) -> QueueId {
    QueueId { tenant: tenant.parse().unwrap(), name: name.into() }
}

#[test]
fn queues_with_similar_names_have_different_consumers() {
    let names = ["a", "a_b", "a-b", "a_", "_a", "b", "high", "a_high"];
    let tenants = ["tenant_a", "tenant_a_b", "tenant_a_", "tenant_b"];
    let mut seen = std::collections::HashSet::new();
    for tenant in tenants {
        for name in names {
            for priority in Priority::ALL {
                let consumer = job_consumer(&queue(tenant, name), priority).unwrap();
                assert!(seen.insert(consumer.clone()), "{consumer} stands for two queues");
            }
        }
    }
}

#[test]
fn names_that_would_reach_other_subjects_are_refused() {
    for bad in ["", "*", ">", "a.b", "a b", "a\n", "ä", "a~b", "a/b", &"x".repeat(65)] {
        let refused = job_subject(&queue("tenant_a", bad), Priority::High);
        assert!(matches!(refused, Err(BusError::Misconfigured(_))), "{bad:?}");
        assert!(job_consumer(&queue("tenant_a", bad), Priority::High).is_err(), "{bad:?}");
        assert!(event_subject(&"tenant_a".parse().unwrap(), &1, bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_tenant_comes_from_the_subject() {
    assert_eq!(tenant_of("outcomes.tenant_a.7"), "tenant_a".parse().ok());
    assert_eq!(tenant_of("outcomes.other.7"), None);
    assert_eq!(tenant_of("outcomes"), None);
}
