using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>Independent uniform numbers in [0, 1), float32. A seed and a stream number give the same bits on every backend.</summary>
    public static Tensor Uniform(this Backend backend, Shape shape, ulong seed, ulong stream = 0) =>
        backend.Uniform(new TensorType(DType.F32, shape), seed, stream);

    /// <summary>Independent uniform numbers in [0, 1), all multiples of 2⁻²⁴. A seed and a stream number give the same numbers on every backend and in every type.</summary>
    public static Tensor Uniform(this Backend backend, TensorType type, ulong seed, ulong stream = 0) =>
        Tensor.Create(backend, new Uniform(type, seed, stream));
}

/// <summary>
/// Independent uniform numbers in [0, 1): element i is the upper 24 bits of word i of the <see cref="Philox"/> sequence (Seed, Stream), times 2⁻²⁴.
/// There are no inputs. F64 receives the same numbers as F32.
/// </summary>
public readonly record struct Uniform(TensorType Type, ulong Seed, ulong Stream) : IPrimitive
{
    private readonly record struct Scalars(uint Count, uint StreamLow, uint StreamHigh, uint SeedLow, uint SeedHigh);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Uniform), inputs, 0);
        ShapeException.ThrowUnless(Type.DType.IsFloating(), nameof(Uniform), "the result must be of a floating-point type", [Type]);
        return [Type];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (Type.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (Type.DType != DType.F32)
            return null;
        var scalars = new Scalars((uint)Type.Count, (uint)Stream, (uint)(Stream >> 32), (uint)Seed, (uint)(Seed >> 32));
        return Type.Count == 0
            ? Tensors.Launch.Nothing
            : Dispatch.Linear("uniform", ElementwiseLaunch.Groups(Type.Count), [Slot.Out(0)], scalars, ElementwiseLaunch.Workgroup);
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        var body = new Body<T> { Result = call.OutputAddress<T>(0), Count = Type.Count, Seed = Seed, Stream = Stream };
        CpuParallel.For(call.Threads, (int)((Type.Count + Body<T>.PartLength - 1) / Body<T>.PartLength), 10 * Body<T>.PartLength, body);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public const int PartLength = 4096;

        public T* Result;
        public long Count;
        public ulong Seed, Stream;

        public readonly void Invoke(int index)
        {
            Span<T> four = stackalloc T[4];
            long end = Math.Min(Count, (index + 1L) * PartLength);
            for (long i = (long)index * PartLength; i < end; i += 4)
            {
                (uint a, uint b, uint c, uint d) = Philox.Block((ulong)i / 4, Stream, Seed);
                four[0] = T.CreateTruncating(Philox.ToUnit(a));
                four[1] = T.CreateTruncating(Philox.ToUnit(b));
                four[2] = T.CreateTruncating(Philox.ToUnit(c));
                four[3] = T.CreateTruncating(Philox.ToUnit(d));
                int length = (int)Math.Min(4, end - i);
                four[..length].CopyTo(new Span<T>(Result + i, length));
            }
        }
    }
}
