/* SPDX-License-Identifier: Apache-2.0 */

#ifndef TEST_VRING_H
#define TEST_VRING_H 1

/* The tests of test-vring.  Each returns if it passes. */

/* test-vring-device.c. */
void test_over_device(void);

/* test-vring-faults.c. */
void test_malformed(void);
void test_odd_but_legal(void);

/* test-vring-frames.c. */
void test_from_driver(void);
void test_to_driver(void);
void test_ring_to_ring(void);
void test_headers_without_offloads(void);
void test_splice(void);
void test_scatter(void);
void test_any_layout(void);
void test_large_frames(void);
void test_too_small_buffers(void);
void test_mergeable_room(void);

/* test-vring-memory.c. */
void test_memory(void);
void test_regions(void);
void test_dirty_log(void);

/* test-vring-native.c. */
void test_native(void);
void test_native_notify(void);
void test_native_splice(void);
void test_native_ends(void);

/* test-vring-notify.c. */
void test_suppression(void);
void test_no_kicks(void);
void test_notify_function(void);
void test_kicks(void);

/* test-vring-record.c. */
void test_record(void);
void test_recover(void);
void test_death(void);

/* test-vring-start.c. */
void test_stop_start(void);
void test_packed_is_fresh(void);
void test_start_checks(void);
void test_state(void);

/* test-vring-stress.c. */
void test_stress_split(void);
void test_stress_packed(void);
void test_stress_kicks(void);
void test_index_race(void);
void test_lap_race(void);

#endif /* test-vring.h */
