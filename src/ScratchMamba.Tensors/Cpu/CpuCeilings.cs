using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>What a machine can do at best, measured with as many threads and as wide vectors as a backend uses; each takes a few hundredths of a second. The best of several samples counts: a ceiling is what is possible.</summary>
public static unsafe class CpuCeilings
{
    private const int Samples = 12, Chains = 12, FusedPerPart = 200_000;

    // New threads first share a core with the one that made them, until the system moves them.
    private static readonly TimeSpan Least = TimeSpan.FromMilliseconds(100);

    // What one sample reads: a small buffer is read again and again.
    private const long LeastBytes = 32 << 20;

    /// <summary>Floating-point operations per second of float32 multiply-adds <c>x·y + z</c> in registers, two for each.</summary>
    public static double FusedOperations(CpuBackend backend)
    {
        int lanes = Lanes(backend.VectorBits);
        return 2.0 * Chains * lanes * FusedPerPart * backend.Threads * Rate(backend, new Body { Kind = Work.Fused }, backend.Threads);
    }

    /// <summary>Bytes per second that are read from a buffer of <paramref name="bytes"/>, each thread its own share.</summary>
    public static double ReadBandwidth(CpuBackend backend, long bytes)
    {
        using var buffer = new Buffer(bytes, backend.Threads);
        int repeats = (int)Math.Max(1, LeastBytes / bytes);
        return (double)buffer.Bytes * repeats * Rate(backend, new Body { Kind = Work.Read, A = buffer.Start, Count = buffer.PerThread, Repeats = repeats }, backend.Threads);
    }

    /// <summary>Bytes per second, read and written, of <c>a = b + s·c</c> with three arrays of <paramref name="bytes"/> together.</summary>
    public static double Triad(CpuBackend backend, long bytes)
    {
        using Buffer a = new(bytes / 3, backend.Threads), b = new(bytes / 3, backend.Threads), c = new(bytes / 3, backend.Threads);
        return 3.0 * a.Bytes * Rate(backend, new Body { Kind = Work.Triad, A = a.Start, B = b.Start, C = c.Start, Count = a.PerThread }, backend.Threads);
    }

    /// <summary>Seconds from opening a parallel loop until all threads have met in it and left it: what handing out work costs.</summary>
    public static double Dispatch(CpuBackend backend)
    {
        const int loops = 100;
        double best = double.PositiveInfinity;
        for (int i = 0; i < loops; i++)
        {
            long start = Stopwatch.GetTimestamp();
            for (int loop = 0; loop < loops; loop++)
            {
                int arrived = 0;
                CpuParallel.For(backend.Threads, backend.Threads, 1_000_000, new Meeting { Arrived = &arrived, Threads = backend.Threads });
            }
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds / loops);
        }
        return best;
    }

    /// <summary>A part waits until every thread has one; not for long, because one thread may be given them all.</summary>
    private struct Meeting : IParallelBody
    {
        public int* Arrived;
        public int Threads;

        public readonly void Invoke(int index)
        {
            Interlocked.Increment(ref *Arrived);
            for (int i = 0; i < 100_000 && Volatile.Read(ref *Arrived) < Threads; i++)
                Thread.SpinWait(1);
        }
    }

    private enum Work
    {
        Fused,
        Read,
        Triad,
    }

    private static int Lanes(int vectorBits) => vectorBits / 8 / sizeof(float);

    /// <summary>How often in a second all parts are done.</summary>
    private static double Rate(CpuBackend backend, Body body, int parts)
    {
        float* sink = stackalloc float[1];
        body.Sink = sink;
        body.VectorBits = backend.VectorBits;
        double best = 0;
        long begun = Stopwatch.GetTimestamp();
        for (int i = 0; i < Samples || Stopwatch.GetElapsedTime(begun) < Least; i++)
        {
            long start = Stopwatch.GetTimestamp();
            CpuParallel.For(backend.Threads, parts, 1_000_000, body);
            best = Math.Max(best, 1 / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best;
    }

    private struct Body : IParallelBody
    {
        public Work Kind;
        public float* A, B, C, Sink;
        public long Count;
        public int Repeats, VectorBits;

        public readonly void Invoke(int index)
        {
            if (VectorBits == 512)
                Run<Lanes512<float>, Vector512<float>>(index);
            else if (VectorBits == 256)
                Run<Lanes256<float>, Vector256<float>>(index);
            else
                Run<Lanes128<float>, Vector128<float>>(index);
        }

        private readonly void Run<TLanes, TVector>(int index) where TLanes : struct, ILanes<TVector, float> where TVector : struct
        {
            long start = index * Count;
            float result = 0;
            if (Kind == Work.Fused)
            {
                result = Fused<TLanes, TVector>();
            }
            else if (Kind == Work.Triad)
            {
                Triad<TLanes, TVector>(A + start, B + start, C + start, Count);
            }
            else
            {
                for (int i = 0; i < Repeats; i++)
                    result += Sum<TLanes, TVector>(A + start, Count);
            }
            // A result that somebody might want: otherwise the compiler leaves the work out.
            if (float.IsNaN(result))
                *Sink = result;
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float Fused<TLanes, TVector>() where TLanes : struct, ILanes<TVector, float> where TVector : struct
        {
            // Twelve chains hide the latency of two units of up to six cycles.
            TVector x = TLanes.Create(0.5f), y = TLanes.Create(0.25f);
            TVector z0 = y, z1 = y, z2 = y, z3 = y, z4 = y, z5 = y, z6 = y, z7 = y, z8 = y, z9 = y, z10 = y, z11 = y;
            for (int i = 0; i < FusedPerPart; i++)
            {
                z0 = TLanes.MultiplyAdd(z0, x, y);
                z1 = TLanes.MultiplyAdd(z1, x, y);
                z2 = TLanes.MultiplyAdd(z2, x, y);
                z3 = TLanes.MultiplyAdd(z3, x, y);
                z4 = TLanes.MultiplyAdd(z4, x, y);
                z5 = TLanes.MultiplyAdd(z5, x, y);
                z6 = TLanes.MultiplyAdd(z6, x, y);
                z7 = TLanes.MultiplyAdd(z7, x, y);
                z8 = TLanes.MultiplyAdd(z8, x, y);
                z9 = TLanes.MultiplyAdd(z9, x, y);
                z10 = TLanes.MultiplyAdd(z10, x, y);
                z11 = TLanes.MultiplyAdd(z11, x, y);
            }
            TVector low = TLanes.Add(TLanes.Add(TLanes.Add(z0, z1), TLanes.Add(z2, z3)), TLanes.Add(z4, z5));
            return TLanes.Sum(TLanes.Add(low, TLanes.Add(TLanes.Add(TLanes.Add(z6, z7), TLanes.Add(z8, z9)), TLanes.Add(z10, z11))));
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float Sum<TLanes, TVector>(float* values, long count) where TLanes : struct, ILanes<TVector, float> where TVector : struct
        {
            TVector z0 = TLanes.Zero, z1 = z0, z2 = z0, z3 = z0;
            for (long i = 0; i < count; i += 4 * TLanes.Count)
            {
                z0 = TLanes.Add(z0, TLanes.Load(values + i));
                z1 = TLanes.Add(z1, TLanes.Load(values + i + TLanes.Count));
                z2 = TLanes.Add(z2, TLanes.Load(values + i + 2 * TLanes.Count));
                z3 = TLanes.Add(z3, TLanes.Load(values + i + 3 * TLanes.Count));
            }
            return TLanes.Sum(TLanes.Add(TLanes.Add(z0, z1), TLanes.Add(z2, z3)));
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Triad<TLanes, TVector>(float* a, float* b, float* c, long count) where TLanes : struct, ILanes<TVector, float> where TVector : struct
        {
            TVector scale = TLanes.Create(0.5f);
            for (long i = 0; i < count; i += TLanes.Count)
                TLanes.Store(TLanes.MultiplyAdd(TLanes.Load(c + i), scale, TLanes.Load(b + i)), a + i);
        }
    }

    /// <summary>Zeros in memory that is there.</summary>
    private readonly ref struct Buffer
    {
        public Buffer(long bytes, int threads)
        {
            // Whole steps of the loops above, at any width.
            PerThread = Math.Max(64, bytes / sizeof(float) / threads / 64 * 64);
            Bytes = PerThread * threads * sizeof(float);
            Start = (float*)NativeMemory.AlignedAlloc((nuint)Bytes, 64);
            NativeMemory.Clear(Start, (nuint)Bytes);
        }

        public float* Start { get; }

        public long PerThread { get; }

        public long Bytes { get; }

        public void Dispose() => NativeMemory.AlignedFree(Start);
    }
}
