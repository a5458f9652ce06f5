namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// An operation that a device with matrix units computes by other kernels than one without: on such a device both must agree, but for what rounding operands to 16 bits changes.
/// </summary>
/// <param name="Operation">The operation.</param>
/// <param name="Inputs">The types of its inputs, and up to which number each is drawn.</param>
internal sealed record SelfTest(IPrimitive Operation, params IReadOnlyList<(TensorType Type, double Scale)> Inputs)
{
    /// <summary>The largest ‖a − b‖ / max(‖b‖, 1) between the two: operands of 8 bits of precision differ by 4e-3 at most, and gradients of a scan take several roundings.</summary>
    public const double Tolerance = 2e-2;

    // The extents of a scan whose chunks take the kernels for matrix units; the last chunk is shorter.
    private const int Length = 200, Chunk = 128, States = 128;

    /// <summary>Tests of an operation of the scan, with activations in F32 and in both types of 16 bits.</summary>
    public static IReadOnlyList<SelfTest> OfScan(Func<int, ScanInputs, SelfTest> test) => [test(Chunk, new(DType.F32)), test(Chunk, new(DType.BF16)), test(Chunk, new(DType.F16))];

    /// <summary>The inputs of a scan with activations of a type, and up to which number each is drawn.</summary>
    /// <param name="Type">The type.</param>
    public readonly record struct ScanInputs(DType Type)
    {
        /// <summary>How exactly matrices are multiplied.</summary>
        public MatMulPrecision Precision => Type == DType.F16 ? MatMulPrecision.Float16 : MatMulPrecision.Bfloat16;

        /// <summary>x, and the gradient of y.</summary>
        public (TensorType, double) X => (new(Type, [1, Length, 2, 64]), 1);

        /// <summary>Δ.</summary>
        public (TensorType, double) Step { get; } = (new(DType.F32, [1, Length, 2]), 0.1);

        /// <summary>A.</summary>
        public (TensorType, double) Decay { get; } = (new(DType.F32, [2]), -1);

        /// <summary>B, and C.</summary>
        public (TensorType, double) B => (new(Type, [1, Length, 1, States]), 1);

        /// <summary>D.</summary>
        public (TensorType, double) Skip { get; } = (new(DType.F32, [2]), 1);

        /// <summary>The states before the chunks.</summary>
        public (TensorType, double) Before => (new(Type, [1, (Length + Chunk - 1) / Chunk, 2, 64, States]), 1);

        /// <summary>The gradient of the last state.</summary>
        public (TensorType, double) Last { get; } = (new(DType.F32, [1, 2, 64, States]), 1);
    }
}
