/* SPDX-License-Identifier: MIT */
/* registry.c: all models, the holding ones first. */
#include <stddef.h>

#include "lab/models/models.h"

extern const struct lab_model lab_model_interval, lab_model_kvm, lab_model_regcache, lab_model_hooks, lab_model_uring;
extern const struct lab_model lab_model_start_only, lab_model_start_then_grab, lab_model_end_only, lab_model_pin_and_forget,
	lab_model_per_range_naive, lab_model_lock_only, lab_model_email_end, lab_model_bool_active, lab_model_no_lock_pass,
	lab_model_unlocked_tree, lab_model_nonblock_leak;
extern const struct lab_model lab_model_open_no_wait, lab_model_retry_forever, lab_model_slot_reuse,
	lab_model_prepare_holds_lock, lab_model_refcount_naive, lab_model_trust_unmap_only, lab_model_announce_before,
	lab_model_insert_after_register;
extern const struct lab_model lab_model_interval_populate;
extern const struct lab_model lab_model_skip_if_evicted, lab_model_evict_unlocked, lab_model_alloc_in_callback,
	lab_model_lock_around_alloc, lab_model_restore_no_retry, lab_model_pin_movable, lab_model_shared_atomics,
	lab_model_notifier_only, lab_model_pin_no_unshare, lab_model_exclusive_no_end, lab_model_drop_before_zap,
	lab_model_event_after_reuse;
extern const struct lab_model lab_model_witness, lab_model_witness_hooks;

const struct lab_model *const lab_models[] = {
	&lab_model_interval,
	&lab_model_interval_populate,
	&lab_model_kvm,
	&lab_model_regcache,
#ifdef LAB_HOOKS
	&lab_model_hooks,
#endif
	&lab_model_witness,
#ifdef LAB_HOOKS
	&lab_model_witness_hooks,
#endif
#ifdef LAB_URING
	&lab_model_uring,
#endif
	&lab_model_start_only,
	&lab_model_start_then_grab,
	&lab_model_end_only,
	&lab_model_pin_and_forget,
	&lab_model_per_range_naive,
	&lab_model_lock_only,
	&lab_model_email_end,
	&lab_model_bool_active,
	&lab_model_no_lock_pass,
	&lab_model_unlocked_tree,
	&lab_model_nonblock_leak,
	&lab_model_open_no_wait,
	&lab_model_retry_forever,
	&lab_model_slot_reuse,
	&lab_model_prepare_holds_lock,
	&lab_model_refcount_naive,
	&lab_model_trust_unmap_only,
	&lab_model_announce_before,
	&lab_model_insert_after_register,
	&lab_model_skip_if_evicted,
	&lab_model_evict_unlocked,
	&lab_model_alloc_in_callback,
	&lab_model_lock_around_alloc,
	&lab_model_restore_no_retry,
	&lab_model_pin_movable,
	&lab_model_shared_atomics,
	&lab_model_notifier_only,
	&lab_model_pin_no_unshare,
	&lab_model_exclusive_no_end,
	&lab_model_drop_before_zap,
	&lab_model_event_after_reuse,
	NULL,
};
