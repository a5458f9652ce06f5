using System.Numerics;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// How much of the state before a chunk is left after it: <c>γ = exp(Σ dt_s · A)</c> over its positions s; with a sequence, 0 where a document begins in the chunk
    /// (the first position of all continues the initial state).
    /// </summary>
    /// <param name="dt">Step sizes, positive: [B, L, H].</param>
    /// <param name="a">Decay rates, negative: [H].</param>
    /// <param name="sequence">Which document each position belongs to, I32 [B, L]; null for a single one.</param>
    /// <param name="chunk">Positions per chunk.</param>
    /// <returns>[B, chunks, H].</returns>
    public static Tensor ChunkRetention(this Tensor dt, Tensor a, Tensor? sequence = null, int chunk = 64) => sequence is null
        ? Tensor.Apply(new ChunkRetention(chunk, false), dt, a)
        : Tensor.Apply(new ChunkRetention(chunk, true), dt, a, sequence);
}

/// <summary>How much of the state before a chunk is left after it: <c>γ = exp(Σ dt_s · A)</c>, 0 where a document begins in it. Inputs dt, A and, if said so, the sequence.</summary>
/// <param name="Chunk">Positions per chunk.</param>
/// <param name="HasSequence">Whether there is a sequence.</param>
public readonly record struct ChunkRetention(int Chunk, bool HasSequence) : IPrimitive
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0) | Saved.Input(1) | Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(ChunkRetention), inputs, HasSequence ? 3 : 2);
        if (Chunk < 1)
            throw new ShapeException($"{nameof(ChunkRetention)}: a chunk has at least one position; got {Chunk}");
        Rules.RequireFloating(nameof(ChunkRetention), inputs[..2]);
        Shape dt = inputs[0].Shape;
        ShapeException.ThrowUnless(dt.Rank == 3, nameof(ChunkRetention), "dt must be [batch, length, heads]", inputs);
        ShapeException.ThrowUnless(inputs[1].Shape == [dt[2]], nameof(ChunkRetention), "A must be [heads]", inputs);
        if (HasSequence)
        {
            ShapeException.ThrowUnless(
                inputs[2] == new TensorType(DType.I32, [dt[0], dt[1]]), nameof(ChunkRetention), "the sequence must be I32 [batch, length]", inputs);
        }
        return [inputs[0] with { Shape = [dt[0], ShapeOf(dt).Chunks, dt[2]] }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType != DType.F32)
            return null;
        var launch = new ScanLaunch(ShapeOf(call.Inputs[0].Shape), DType.F32, call.Device);
        launch.Retention(Slot.In(0), Slot.In(1), HasSequence ? Slot.In(2) : null, Slot.Out(0));
        return launch.Build();
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        (Tensor dt, Tensor a) = Gradients(call.Input(0), call.Input(1), call.Output(0), call.Gradient(0));
        return HasSequence ? [dt, a, null] : [dt, a];
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        ScanShape shape = ShapeOf(inputs[0].Shape);
        var chunks = new ChunkedTensors(shape, inputs[0].DType);
        Tensor retention = chunks.Last(chunks.Decay(inputs[0], inputs[1])).Exp();
        if (HasSequence)
            retention *= chunks.Last(chunks.Document(inputs[2])).Equal(inputs[0].Backend.Scalar(0, inputs[0].DType));
        return [retention.Reshape([shape.B, shape.Chunks, shape.H])];
    }

    /// <summary>The gradients of dt and A, from the retention and its gradient.</summary>
    internal (Tensor Dt, Tensor A) Gradients(Tensor dt, Tensor a, Tensor retention, Tensor gradient)
    {
        ScanShape shape = ShapeOf(dt.Shape);
        // Every position of a chunk moves the logarithm of γ alike.
        Tensor slope = (gradient * retention).Reshape([shape.B, shape.Chunks, 1, shape.H]).Broadcast([shape.B, shape.Chunks, shape.Q, shape.H])
            .Reshape([shape.B, checked(shape.Chunks * shape.Q), shape.H]).Slice(1, 0, shape.L);
        return (slope * a, (slope * dt).SumTo(a.Shape));
    }

    private ScanShape ShapeOf(Shape dt) => new(dt[0], dt[1], dt[2], 0, 1, 0, ScanShape.Effective(Chunk, dt[1]));

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        ScanShape shape = ShapeOf(call.InputType(0).Shape);
        ReadOnlySpan<T> dt = call.Input<T>(0), a = call.Input<T>(1);
        ReadOnlySpan<int> sequence = HasSequence ? call.Input<int>(2) : default;
        Span<T> retention = call.Output<T>(0);
        // B·L·H additions, too few to be worth threads or vectors.
        for (int part = 0; part < shape.B * shape.Chunks; part++)
        {
            int chunk = part % shape.Chunks, start = chunk * shape.Q, length = shape.Length(chunk), row = part / shape.Chunks * shape.L + start;
            bool begins = false;
            for (int s = start == 0 ? 1 : 0; s < length && HasSequence; s++)
                begins |= sequence[row + s] != sequence[row + s - 1];
            for (int head = 0; head < shape.H; head++)
            {
                double sum = 0;
                for (int s = 0; s < length; s++)
                    sum += double.CreateTruncating(dt[(row + s) * shape.H + head]);
                retention[part * shape.H + head] = begins ? T.Zero : T.CreateTruncating(Math.Exp(sum * double.CreateTruncating(a[head])));
            }
        }
    }
}
