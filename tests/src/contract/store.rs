//! The rules of `EventStore`. Each gets a fresh store of [`PARTITIONS`] partitions, so that a failure names one rule.

#![allow(clippy::unwrap_used, reason = "these are tests, although they are compiled as a library")]

mod agenda;
mod appending;
mod background;
mod graphs;
mod lineage;
mod list;
mod ownership;
mod permits;
mod racing;
mod reading;
mod sample;
mod schedules;
mod snapshots;

pub use agenda::*;
pub use appending::*;
pub use background::*;
pub use graphs::*;
pub use lineage::*;
pub use list::*;
pub use ownership::*;
pub use permits::*;
pub use racing::*;
pub use reading::*;
pub use sample::{PARTITIONS, SharedStore, append, execution, following, graph, own, stored_graph, summary, tenant};
pub use schedules::*;
pub use snapshots::*;

/// A test for each rule, for an adapter that `$fresh` makes: an async function that takes a rule and runs it on a fresh
/// store.
#[macro_export]
macro_rules! store_contract {
    ($with_fresh:path) => {
        $crate::store_contract! { @rules $with_fresh;
            the_sequences_of_an_execution_run_from_one_without_a_gap
            an_execution_starts_only_once
            an_append_that_does_not_follow_the_last_conflicts_and_leaves_the_rest_of_the_batch_committed
            an_append_that_overlaps_with_another_size_conflicts
            the_same_append_again_is_already_there
            an_append_under_a_wrong_epoch_is_fenced
            an_append_of_a_partition_taken_over_meanwhile_is_fenced
            what_was_written_before_a_takeover_is_still_reported_as_there
            another_tenant_cannot_append_to_an_execution
            another_tenant_cannot_start_an_execution_that_is_there
            a_batch_that_no_correct_caller_builds_is_refused_whole
            an_empty_batch_is_nothing
            a_batch_of_a_thousand_commits_in_the_order_of_the_answers
            a_body_of_four_megabytes_survives
            another_tenant_reads_and_finds_nothing
            pages_of_a_log_follow_each_other
            a_page_may_begin_in_the_middle_of_an_append
            a_log_that_continues_another_reads_as_one
            a_log_and_its_continuation_grow_apart
            a_continuation_can_be_continued_anywhere
            what_an_origin_does_not_have_cannot_be_continued
            an_execution_begins_once_by_itself_or_as_a_continuation
            a_continuation_is_seen_by_its_tenant_only
            continuations_stand_or_fall_one_by_one_among_other_appends
            a_continuation_under_a_lost_partition_is_fenced
            a_continuation_that_no_correct_caller_builds_is_refused
            a_lineage_has_a_limit_and_is_read_up_to_it
            of_many_beginnings_of_one_execution_one_wins
            the_list_shows_the_newest_first_page_by_page
            the_list_can_be_limited_to_a_state
            a_list_row_changes_only_with_a_summary
            an_append_that_is_not_committed_leaves_the_list_row_alone
            a_list_that_was_cleared_can_be_written_anew_from_the_logs
            rebuilding_the_list_does_not_undo_what_is_newer
            executions_with_dead_letters_are_listed
            background_executions_are_listed_by_mode_and_status
            the_queue_is_read_by_rank_for_the_partitions_asked_for
            an_execution_is_on_the_agenda_where_its_last_word_put_it
            an_append_that_is_not_committed_leaves_the_agenda_alone
            a_continuation_enters_the_agenda_with_its_first_append
            the_outbox_is_read_page_by_page_for_the_partitions_asked_for
            the_timers_are_read_in_the_order_of_their_moments_also_when_many_share_one
            another_tenants_place_on_the_agenda_is_nowhere
            a_large_batch_moves_executions_on_the_agenda_each_its_own_way
            an_agenda_that_was_cleared_can_be_written_anew
            rebuilding_the_agenda_does_not_undo_what_is_newer
            the_agenda_rebuilt_from_the_logs_is_the_one_that_the_appends_left
            a_snapshot_is_kept_for_one_tenant_until_a_newer_one_takes_its_place
            an_older_snapshot_or_another_tenants_changes_nothing
            snapshots_can_be_forgotten_and_the_logs_stay
            a_large_snapshot_survives_and_an_impossible_one_is_refused
            a_graph_is_registered_once_and_for_one_tenant
            a_graph_is_found_by_name_and_version_the_last_one_registered
            graphs_are_listed_by_name_and_then_the_newest_first
            a_schedule_changes_only_for_who_has_seen_it
            a_schedule_has_its_name_for_itself_within_its_tenant
            another_tenants_schedule_is_not_there
            schedules_are_listed_by_name_page_by_page
            what_is_due_is_read_in_order_for_the_partitions_asked_for
            of_many_that_change_a_schedule_one_succeeds
            a_store_tells_what_it_is_and_how_durable
            a_partition_is_taken_by_one_and_kept_by_renewing
            a_lease_that_ran_out_can_be_taken_and_the_old_holder_cannot_renew
            a_lease_that_ran_out_but_was_not_taken_is_renewed
            a_released_partition_can_be_taken_at_once_and_its_epoch_stays_spent
            force_takes_a_partition_from_anybody
            after_a_restore_nobody_owns_anything_and_no_epoch_comes_twice
            of_many_that_take_a_partition_one_succeeds
            only_the_holder_can_release
            members_leave_after_their_time_and_at_once_when_they_say_so
            a_key_has_as_many_places_as_it_says_and_hands_them_on_in_order
            an_attempt_that_asks_again_has_one_permit_and_is_told_again
            the_most_urgent_is_served_first_and_then_who_asked_first
            an_end_means_only_what_it_names
            what_is_asked_later_outlives_the_end_of_an_earlier_wait
            who_asks_and_stops_waiting_in_the_same_breath_waits
            those_who_ask_together_are_served_in_the_order_of_asking
            a_key_with_more_places_serves_who_waits_when_somebody_asks
            the_moments_of_a_rate_are_handed_out_once_and_in_order
            a_rate_is_counted_when_the_place_is_there
            keys_of_another_tenant_are_other_keys_and_its_attempts_cannot_be_ended
            standing_permits_are_read_page_by_page_for_the_partitions_asked_for
            many_askers_at_once_never_hold_more_than_there_are_places
            many_askers_at_once_get_moments_that_are_spaced
            too_many_permits_at_a_time_are_refused
            what_is_set_aside_and_what_is_spent_stay_inside_the_days_budget
            an_attempt_that_the_days_budget_has_no_room_for_is_denied
            a_denial_stands_until_its_wait_is_over_and_is_in_nobodys_way
            what_executions_have_used_is_counted_once
            who_brings_the_days_budget_near_its_end_is_told_once_and_whenever_it_is_counted_again
            a_budget_of_the_day_and_places_are_had_together_or_not_at_all
            many_askers_at_once_stay_inside_the_days_budget
            limits_of_a_tenant_are_kept_and_are_its_own
            many_appenders_on_many_executions_leave_no_gap
            of_two_writers_on_one_execution_one_wins_each_sequence
            a_takeover_in_the_middle_of_a_stream_of_appends_loses_and_doubles_nothing
        }
    };
    (@rules $with_fresh:path; $($rule:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            $with_fresh($crate::contract::store::$rule).await;
        }
    )*};
}
