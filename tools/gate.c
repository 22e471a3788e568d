/* SPDX-License-Identifier: MIT */
#include "gate.h"

void gate_init(struct gate *g)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->moved, NULL);
	atomic_init(&g->closed, false);
	g->members = 0;
	g->parked = 0;
}

void gate_destroy(struct gate *g)
{
	pthread_cond_destroy(&g->moved);
	pthread_mutex_destroy(&g->lock);
}

void gate_join(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->members++;
	pthread_mutex_unlock(&g->lock);
}

void gate_leave(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->members--;
	pthread_cond_broadcast(&g->moved);
	pthread_mutex_unlock(&g->lock);
}

void gate_park(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->parked++;
	pthread_cond_broadcast(&g->moved);
	while (atomic_load_explicit(&g->closed, memory_order_relaxed))
		pthread_cond_wait(&g->moved, &g->lock);
	g->parked--;
	pthread_mutex_unlock(&g->lock);
}

bool gate_close(struct gate *g)
{
	bool rounds;

	pthread_mutex_lock(&g->lock);
	atomic_store_explicit(&g->closed, true, memory_order_relaxed);
	while (g->parked < g->members)
		pthread_cond_wait(&g->moved, &g->lock);
	rounds = g->members != 0;
	if (!rounds) {
		atomic_store_explicit(&g->closed, false, memory_order_relaxed);
		pthread_cond_broadcast(&g->moved);
	}
	pthread_mutex_unlock(&g->lock);
	return rounds;
}

void gate_open(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	atomic_store_explicit(&g->closed, false, memory_order_relaxed);
	pthread_cond_broadcast(&g->moved);
	pthread_mutex_unlock(&g->lock);
}

void gate_await_empty(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (g->members || atomic_load_explicit(&g->closed, memory_order_relaxed))
		pthread_cond_wait(&g->moved, &g->lock);
	pthread_mutex_unlock(&g->lock);
}
