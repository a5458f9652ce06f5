namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// The last K − 1 inputs of a causal convolution, oldest first, [B, K − 1, C]: what <see cref="CausalConvolution(Tensor, Tensor, Tensor?, Tensor?, Tensor?, bool)"/>
    /// needs as its initial inputs to go on with the next segment. Inputs of other documents than the last position's are zero.
    /// </summary>
    /// <param name="x">The segment's inputs, [B, L, C].</param>
    /// <param name="taps">K.</param>
    /// <param name="initial">The segment's own initial inputs, [B, K − 1, C]; zeros where left out.</param>
    /// <param name="sequence">The document that each position belongs to, I32 [B, L], numbered below 2²⁴.</param>
    /// <remarks>A next segment that begins another document needs no initial inputs: they would count as that document's.</remarks>
    public static Tensor ConvolutionState(this Tensor x, int taps, Tensor? initial = null, Tensor? sequence = null)
    {
        ShapeException.ThrowUnless(x.Shape.Rank == 3, nameof(ConvolutionState), "x must be [batch, length, channels]", [x.Type]);
        ArgumentOutOfRangeException.ThrowIfLessThan(taps, 1);
        int batch = x.Shape[0], length = x.Shape[1], carried = taps - 1, missing = Math.Max(0, carried - length);
        Tensor state = x;
        if (missing > 0)
            state = Concatenate(1, initial ?? x.Backend.Zeros(new TensorType(x.DType, [batch, carried, x.Shape[2]])), x);
        state = state.Slice(1, state.Shape[1] - carried, carried);
        if (sequence is null || length == 0)
            return state;
        if (state.DType.IsNarrow())
            state = state.Cast(DType.F32);
        Tensor documents = sequence.Cast(state.DType).Reshape([batch, length, 1]);
        Tensor last = documents.Slice(1, length - 1, 1);
        if (missing > 0)
            documents = Concatenate(1, documents.Slice(1, 0, 1).Broadcast([batch, missing, 1]), documents);
        return state * documents.Slice(1, documents.Shape[1] - carried, carried).Equal(last);
    }
}
