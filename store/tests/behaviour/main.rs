//! One suite of behaviour, run against the in-memory etcd and against a real one: what holds for
//! one must hold for the other, so that the simulated one is proven faithful. Each case is a
//! function of a `Backend`; a new case is one line in the list below.

mod backend;
mod elections;
mod following;
mod protocol;
mod reads;
mod sessions;
mod writes;

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(crate::backend::Backend::in_memory().await).await;
            })*
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(crate::backend::Backend::real().await).await;
            })*
        }
    };
}

cases! {
    reads::a_key_is_read_with_its_revisions,
    reads::a_list_of_many_pages_shows_one_revision,
    reads::a_list_of_large_values_is_read_in_smaller_pages,
    writes::a_guarded_write_commits_or_tells_what_it_found,
    writes::a_transaction_is_all_or_nothing,
    writes::what_etcd_would_refuse_is_refused_before_it_is_sent,
    writes::a_write_without_answer_is_ambiguous_and_then_decided,
    writes::a_frozen_store_fails_calls_in_time,
    protocol::a_watch_from_a_compacted_revision_is_canceled_in_a_message,
    protocol::a_watch_of_the_future_is_created_and_silent,
    protocol::progress_is_answered_at_once_under_watch_id_minus_one,
    protocol::progress_is_not_answered_while_the_start_is_in_the_future,
    protocol::a_large_revision_comes_in_fragments,
    protocol::a_lease_that_is_gone_is_renewed_with_ttl_zero,
    protocol::limits_have_etcds_codes,
    protocol::a_wiped_store_has_the_same_cluster_id_and_no_higher_term,
    following::the_first_update_comes_even_when_there_is_nothing,
    following::changes_and_deletes_arrive_one_revision_at_a_time,
    following::a_slow_consumer_gets_the_newest_state_of_each_key,
    following::a_cut_stream_resumes_without_repeating_anything,
    following::a_compaction_while_away_ends_in_the_same_state,
    following::a_wiped_store_is_lost_and_nothing_is_emitted_until_it_is_back,
    following::a_restored_store_emits_the_difference_only,
    following::a_frozen_store_is_noticed_and_the_follower_comes_back,
    following::a_quiet_store_is_proven_current_again_and_again,
    following::an_equal_store_after_a_restart_emits_nothing,
    following::a_backlog_of_megabytes_arrives_whole,
    sessions::a_key_lives_with_its_session_and_goes_with_it,
    sessions::a_taken_name_is_refused_and_an_older_incarnation_replaced,
    sessions::a_lost_lease_is_replaced_and_its_keys_return,
    sessions::retuning_the_lifetime_never_shows_the_key_absent,
    sessions::fast_updates_are_conflated_and_the_newest_is_durable,
    sessions::a_usurped_key_is_given_up,
    sessions::a_key_changed_or_deleted_by_hand_is_put_back,
    sessions::a_key_that_another_session_took_is_noticed_and_not_fought_for,
    elections::a_leaders_key_changed_by_hand_goes_with_its_leader_all_the_same,
    elections::one_leads_and_the_next_follows_when_it_resigns,
    elections::a_leader_without_lease_loses_and_its_writes_are_refused,
    elections::who_lost_the_lease_need_not_wait_for_its_own_end,
}
