// SPDX-License-Identifier: MIT

import java.io.RandomAccessFile;
import java.lang.reflect.Field;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;

/** A Java program: the virtual machine is a dynamically linked program, and its calls go through libc. */
public class JavaProgram {
    static native int open(String monitor);

    static native int watch(long address);

    static native int seen();

    static native void close();

    static native void report(String what, String monitor, int error, int seen);

    static long addressOf(Buffer buffer) throws Exception {
        Field field = Buffer.class.getDeclaredField("address");
        field.setAccessible(true);
        return field.getLong(buffer);
    }

    static void release(ByteBuffer buffer) throws Exception {
        Field field = Class.forName("sun.misc.Unsafe").getDeclaredField("theUnsafe");
        field.setAccessible(true);
        ((sun.misc.Unsafe) field.get(null)).invokeCleaner(buffer);
    }

    interface Maker {
        ByteBuffer make() throws Exception;
    }

    static void run(String what, String monitor, Maker maker) throws Exception {
        int error = open(monitor), seen = 0;
        if (error == 0) {
            ByteBuffer buffer = maker.make();
            buffer.put(2 * 1024 * 1024, (byte) 1);
            error = watch(addressOf(buffer) + 2 * 1024 * 1024);
            release(buffer);
            seen = seen();
            close();
        }
        report(what, monitor, error, seen);
    }

    public static void main(String[] args) throws Exception {
        System.load(args[0]);
        RandomAccessFile file = new RandomAccessFile(args[1], "rw");
        for (String monitor : new String[] {"explicit", "hooks", "uffd", "auto"}) {
            run("java MappedByteBuffer", monitor, () -> file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 48 << 20));
            run("java allocateDirect", monitor, () -> ByteBuffer.allocateDirect(48 << 20));
        }
    }
}
