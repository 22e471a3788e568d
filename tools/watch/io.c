/* SPDX-License-Identifier: MIT */
/*
 * io.c: functions that take buffers, in front of the real ones by the order of symbol look-up. What libc calls itself (stdio's
 * reads and writes, into buffers of its own) does not come by here. A buffer counts as given when the call begins; those of a
 * vector when it has succeeded, because only then is the vector known to be readable.
 */
#include "inside.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define VECTOR_MAX 1024u
#define EXPORT __attribute__((visibility("default")))

static void use(const void *buf, size_t len)
{
	struct watch_state *s = watch_enter(&watch_self);

	if (!s)
		return;
	watch_shadow_use(s, &watch_self, (uintptr_t)buf, len);
	watch_leave(&watch_self);
}

static void use_vector(const struct iovec *v, size_t n)
{
	int saved = errno;

	for (size_t i = 0; i < n && n <= VECTOR_MAX; i++)
		use(v[i].iov_base, v[i].iov_len);
	errno = saved;
}

/* ---- the real functions ---- */

enum real {
	REAL_READ,
	REAL_WRITE,
	REAL_PREAD,
	REAL_PREAD64,
	REAL_PWRITE,
	REAL_PWRITE64,
	REAL_READV,
	REAL_WRITEV,
	REAL_PREADV,
	REAL_PREADV64,
	REAL_PWRITEV,
	REAL_PWRITEV64,
	REAL_SEND,
	REAL_RECV,
	REAL_SENDTO,
	REAL_RECVFROM,
	REAL_SENDMSG,
	REAL_RECVMSG,
	REAL_READ_CHK,
	REAL_PREAD_CHK,
	REAL_PREAD64_CHK,
	REAL_RECV_CHK,
	REAL_RECVFROM_CHK,
	REAL_OF_LIBC,
	REAL_IBV = REAL_OF_LIBC,
	REAL_IBV_IOVA,
	REAL_IBV_IOVA2,
	REAL_URING,
	REAL_URING_UPDATE,
	REALS
};

static const char *const names[REALS] = {
	"read",
	"write",
	"pread",
	"pread64",
	"pwrite",
	"pwrite64",
	"readv",
	"writev",
	"preadv",
	"preadv64",
	"pwritev",
	"pwritev64",
	"send",
	"recv",
	"sendto",
	"recvfrom",
	"sendmsg",
	"recvmsg",
	"__read_chk",
	"__pread_chk",
	"__pread64_chk",
	"__recv_chk",
	"__recvfrom_chk",
	"ibv_reg_mr",
	"ibv_reg_mr_iova",
	"ibv_reg_mr_iova2",
	"io_uring_register_buffers",
	"io_uring_register_buffers_update_tag",
};

static void *_Atomic reals[REALS];

/* A library that was opened by name, and its own needs, are not behind us in the global order. */
static void *look_among_opened(const char *name)
{
	static const char *const libraries[] = {"libibverbs.so.1", "liburing.so.2", "liburing.so.1"};
	void *at = NULL;

	for (size_t i = 0; !at && i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);

		if (library) {
			at = dlsym(library, name);
			dlclose(library); /* whoever has it open keeps it */
		}
	}
	return at;
}

static void *real(enum real which)
{
	void *at = atomic_load_explicit(&reals[which], memory_order_acquire);

	if (__builtin_expect(!at, 0)) {
		at = dlsym(RTLD_NEXT, names[which]);
		if (!at)
			at = look_among_opened(names[which]);
		atomic_store_explicit(&reals[which], at, memory_order_release);
	}
	return at;
}

/* A signal handler may not ask the dynamic linker. */
void watch_io_setup(void)
{
	for (enum real i = 0; i < REAL_OF_LIBC; i++)
		real(i);
}

/* A function pointer of the type of the function that is being defined. */
#define REAL(fn, which) ((__typeof__(&(fn)))real(which))

/* ---- buffers ---- */

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	use(buf, n);
	return REAL(read, REAL_READ)(fd, buf, n);
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	use(buf, n);
	return REAL(write, REAL_WRITE)(fd, buf, n);
}

EXPORT ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
	use(buf, n);
	return REAL(pread, REAL_PREAD)(fd, buf, n, at);
}

EXPORT ssize_t pread64(int fd, void *buf, size_t n, off64_t at)
{
	use(buf, n);
	return REAL(pread64, REAL_PREAD64)(fd, buf, n, at);
}

EXPORT ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	use(buf, n);
	return REAL(pwrite, REAL_PWRITE)(fd, buf, n, at);
}

EXPORT ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	use(buf, n);
	return REAL(pwrite64, REAL_PWRITE64)(fd, buf, n, at);
}

EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	use(buf, n);
	return REAL(send, REAL_SEND)(fd, buf, n, flags);
}

EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	use(buf, n);
	return REAL(recv, REAL_RECV)(fd, buf, n, flags);
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to, socklen_t len)
{
	use(buf, n);
	return REAL(sendto, REAL_SENDTO)(fd, buf, n, flags, to, len);
}

EXPORT ssize_t recvfrom(int fd, void *restrict buf, size_t n, int flags, struct sockaddr *restrict from,
			socklen_t *restrict len)
{
	use(buf, n);
	return REAL(recvfrom, REAL_RECVFROM)(fd, buf, n, flags, from, len);
}

/* ---- vectors ---- */

#define VECTOR_CALL(name, which, ...)                                                                                          \
	do {                                                                                                                   \
		ssize_t done = REAL(name, which)(__VA_ARGS__);                                                                 \
                                                                                                                               \
		if (done >= 0)                                                                                                 \
			use_vector(v, (size_t)n);                                                                              \
		return done;                                                                                                   \
	} while (0)

EXPORT ssize_t readv(int fd, const struct iovec *v, int n)
{
	VECTOR_CALL(readv, REAL_READV, fd, v, n);
}

EXPORT ssize_t writev(int fd, const struct iovec *v, int n)
{
	VECTOR_CALL(writev, REAL_WRITEV, fd, v, n);
}

EXPORT ssize_t preadv(int fd, const struct iovec *v, int n, off_t at)
{
	VECTOR_CALL(preadv, REAL_PREADV, fd, v, n, at);
}

EXPORT ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t at)
{
	VECTOR_CALL(preadv64, REAL_PREADV64, fd, v, n, at);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	VECTOR_CALL(pwritev, REAL_PWRITEV, fd, v, n, at);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
	VECTOR_CALL(pwritev64, REAL_PWRITEV64, fd, v, n, at);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t done = REAL(sendmsg, REAL_SENDMSG)(fd, m, flags);

	if (done >= 0)
		use_vector(m->msg_iov, m->msg_iovlen);
	return done;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t done = REAL(recvmsg, REAL_RECVMSG)(fd, m, flags);

	if (done >= 0)
		use_vector(m->msg_iov, m->msg_iovlen);
	return done;
}

/* ---- what a compiler makes of them when it checks sizes ---- */

ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t __pread_chk(int fd, void *buf, size_t n, off_t at, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t at, size_t room);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *len);

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	use(buf, n);
	return REAL(__read_chk, REAL_READ_CHK)(fd, buf, n, room);
}

EXPORT ssize_t __pread_chk(int fd, void *buf, size_t n, off_t at, size_t room)
{
	use(buf, n);
	return REAL(__pread_chk, REAL_PREAD_CHK)(fd, buf, n, at, room);
}

EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t at, size_t room)
{
	use(buf, n);
	return REAL(__pread64_chk, REAL_PREAD64_CHK)(fd, buf, n, at, room);
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	use(buf, n);
	return REAL(__recv_chk, REAL_RECV_CHK)(fd, buf, n, room, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *len)
{
	use(buf, n);
	return REAL(__recvfrom_chk, REAL_RECVFROM_CHK)(fd, buf, n, room, flags, from, len);
}

/* ---- registrations that the program makes itself ---- */

struct ibv_pd;
struct ibv_mr;
struct io_uring;
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access);
struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, int access);
struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned access);
int io_uring_register_buffers(struct io_uring *ring, const struct iovec *v, unsigned n);
int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned at, const struct iovec *v, const uint64_t *tags,
					 unsigned n);

/* Without the library there is nothing to call: what it would answer where the device is not there. */
#define MISSING(which, answer)                                                                                                 \
	do {                                                                                                                   \
		if (!real(which)) {                                                                                            \
			errno = ENOSYS;                                                                                        \
			return answer;                                                                                         \
		}                                                                                                              \
	} while (0)

EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	MISSING(REAL_IBV, NULL);
	use(addr, len);
	return REAL(ibv_reg_mr, REAL_IBV)(pd, addr, len, access);
}

EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, int access)
{
	MISSING(REAL_IBV_IOVA, NULL);
	use(addr, len);
	return REAL(ibv_reg_mr_iova, REAL_IBV_IOVA)(pd, addr, len, iova, access);
}

EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned access)
{
	MISSING(REAL_IBV_IOVA2, NULL);
	use(addr, len);
	return REAL(ibv_reg_mr_iova2, REAL_IBV_IOVA2)(pd, addr, len, iova, access);
}

EXPORT int io_uring_register_buffers(struct io_uring *ring, const struct iovec *v, unsigned n)
{
	int done;

	MISSING(REAL_URING, -ENOSYS);
	done = REAL(io_uring_register_buffers, REAL_URING)(ring, v, n);
	if (done >= 0)
		use_vector(v, n);
	return done;
}

EXPORT int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned at, const struct iovec *v, const uint64_t *tags,
						unsigned n)
{
	int done;

	MISSING(REAL_URING_UPDATE, -ENOSYS);
	done = REAL(io_uring_register_buffers_update_tag, REAL_URING_UPDATE)(ring, at, v, tags, n);
	if (done >= 0)
		use_vector(v, n);
	return done;
}
