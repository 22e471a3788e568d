/* SPDX-License-Identifier: MIT */
/*
 * my_driver_model.c: a driver of one's own in the race lab, and a race of one's own for it. Put your scheme in the place of
 * this one, which has two forms: my_naive programs what it has looked up, my_mended asks first whether a change has come
 * between.
 *
 *	cc my_driver_model.c $(pkg-config --cflags --libs uhmm-lab) -o my_driver_model
 *	./my_driver_model MINE                           who holds it, who loses it
 *	./my_driver_model --show MINE --model my_naive   how
 *	./my_driver_model --model my_mended R1 R7 R8     the lab's own races, with this driver
 */
#include <errno.h>
#include <uhmm/lab.h>

struct driver {
	struct uhmm_notifier notifier; /* first */
	struct lab_device *device;
	struct lab_lock lock;
};

/* A change begins. The device's entries go before this returns; it may not wait for the lock if the event says so. */
static int invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct driver *v = (struct driver *)n;

	if (!lab_trylock(&v->lock)) {
		if (event->flags & UHMM_EVENT_NONBLOCK)
			return -EAGAIN;
		lab_lock(&v->lock);
	}
	lab_unmap(v->device, event->start, event->end);
	lab_unlock(&v->lock);
	return 0;
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	static const struct uhmm_notifier_ops ops = {.invalidate = invalidate};
	struct driver *v = lab_device_state(d);

	v->device = d;
	if (uhmm_notifier_insert(lab_mm(), &v->notifier, (void *)start, end - start, &ops))
		lab_fail("insert");
}

/* The device uses the page if it has an entry. If not: look the page up, make one, try again. */
static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value, bool mended)
{
	struct driver *v = lab_device_state(d);

	for (int tries = 0; tries < 8; tries++) {
		uint64_t seq = uhmm_read_begin(&v->notifier);
		lab_frame frame;

		if ((access & LAB_WRITE ? lab_store(d, page, *value) : lab_load(d, page, value)) == 0)
			return 0;
		if (lab_grab(d, page, access, &frame))
			return -EFAULT;
		lab_lock(&v->lock);
		if (!mended || !uhmm_read_retry(&v->notifier, seq)) /* the difference */
			lab_map(d, page, frame, access);
		lab_unlock(&v->lock);
		lab_put(d, frame);
	}
	return -EBUSY;
}

static int use_naive(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return use(d, page, access, value, false);
}

static int use_mended(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return use(d, page, access, value, true);
}

static const struct lab_model naive = {.name = "my_naive", .about = "programs what it looked up, whatever came since",
	.state_size = sizeof(struct driver), .attach = attach, .use = use_naive};
static const struct lab_model mended = {.name = "my_mended", .about = "asks before it programs what it looked up",
	.state_size = sizeof(struct driver), .attach = attach, .use = use_mended};

/* The race. Each function is a fiber: it says what its side does, and never when. */
static void device_reads(void *setup)
{
	const struct lab_setup *s = setup;
	uint32_t value = 0;
	int err = s->model->use(s->device[0], 0, LAB_READ, &value);

	if (err || value > 1)
		lab_fail("the device reads %u, error %d", value, err);
}

static void process_discards(void *unused)
{
	(void)unused;
	lab_cpu_dontneed(0, 1);
}

static void setup(const struct lab_setup *s)
{
	if (lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE) || lab_cpu_write(0, 1))
		lab_fail("set-up");
	s->model->attach(s->device[0], LAB_ADDR(0), LAB_ADDR(1));
	lab_spawn("gpu", device_reads, (void *)s);
	lab_spawn("process", process_discards, NULL);
}

static const struct lab_scenario mine = {.id = "MINE", .title = "a page is discarded while a device reads it",
	.expected = "my_mended", .losers = "my_naive", .setup = setup};

int main(int argc, char **argv)
{
	static const struct lab_scenario *const scenarios[] = {&mine, NULL};
	static const struct lab_model *const models[] = {&mended, &naive, NULL};

	return lab_main(argc, argv, scenarios, models);
}
