/* SPDX-License-Identifier: MIT */
/* java_native.c: probe.h for JavaProgram. */
#include <jni.h>

#include "probe.h"

#define METHOD(type, name, ...) JNIEXPORT type JNICALL Java_JavaProgram_##name(JNIEnv *env, jclass self, ##__VA_ARGS__)

METHOD(jint, open, jstring monitor);
METHOD(jint, watch, jlong address);
METHOD(jint, seen);
METHOD(void, close);
METHOD(void, report, jstring what, jstring monitor, jint error, jint seen);

METHOD(jint, open, jstring monitor)
{
	const char *name = (*env)->GetStringUTFChars(env, monitor, NULL);
	jint err = probe_open(name);

	(void)self;
	(*env)->ReleaseStringUTFChars(env, monitor, name);
	return err;
}

METHOD(jint, watch, jlong address)
{
	(void)env;
	(void)self;
	return probe_watch((unsigned long)address);
}

METHOD(jint, seen)
{
	(void)env;
	(void)self;
	return probe_seen();
}

METHOD(void, close)
{
	(void)env;
	(void)self;
	probe_close();
}

METHOD(void, report, jstring what, jstring monitor, jint error, jint seen)
{
	const char *name = (*env)->GetStringUTFChars(env, what, NULL);
	const char *by = (*env)->GetStringUTFChars(env, monitor, NULL);

	(void)self;
	probe_report(name, by, error, seen);
	(*env)->ReleaseStringUTFChars(env, monitor, by);
	(*env)->ReleaseStringUTFChars(env, what, name);
}
