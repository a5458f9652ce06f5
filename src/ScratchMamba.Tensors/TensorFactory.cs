namespace ScratchMamba.Tensors;

/// <summary>Makes tensors from the host's values.</summary>
public static class TensorFactory
{
    /// <summary>A tensor that holds these values in row-major order.</summary>
    /// <exception cref="ArgumentException">The number of values is not that of the shape.</exception>
    public static Tensor Tensor<T>(this Backend backend, Shape shape, params ReadOnlySpan<T> values) where T : unmanaged
    {
        var type = new TensorType(DTypes.Of<T>(), shape);
        if (type.Count != values.Length)
            throw new ArgumentException($"A tensor of shape {shape} has {type.Count} elements; got {values.Length} values.", nameof(values));
        Tensor tensor = Tensors.Tensor.Allocate(backend, type);
        tensor.Write(values);
        return tensor;
    }

    /// <summary>A tensor of a floating-point type that holds these values, rounded to it.</summary>
    public static Tensor Tensor(this Backend backend, TensorType type, ReadOnlySpan<double> values)
    {
        switch (type.DType)
        {
            case DType.F64:
                return backend.Tensor(type.Shape, values);
            case DType.F32:
                var singles = new float[values.Length];
                for (int i = 0; i < singles.Length; i++)
                    singles[i] = (float)values[i];
                return backend.Tensor<float>(type.Shape, singles);
            case DType.BF16:
                return backend.Tensor<BFloat16>(type.Shape, Array.ConvertAll(values.ToArray(), value => (BFloat16)(float)value));
            case DType.F16:
                return backend.Tensor<Half>(type.Shape, Array.ConvertAll(values.ToArray(), value => (Half)value));
            case DType.Q8_0 or DType.Q4_0:
                Tensor quantized = Tensors.Tensor.Allocate(backend, type);
                quantized.Write<byte>(QuantizedBlocks.Quantize(type.DType, Array.ConvertAll(values.ToArray(), value => (float)value)));
                return quantized;
            default:
                var integers = new int[values.Length];
                for (int i = 0; i < integers.Length; i++)
                    integers[i] = checked((int)values[i]);
                return backend.Tensor<int>(type.Shape, integers);
        }
    }

    /// <summary>A tensor every element of which is <paramref name="value"/>.</summary>
    public static Tensor Full(this Backend backend, TensorType type, double value) => Tensors.Tensor.Create(backend, new Operations.Full(type, value));

    /// <summary>A tensor of zeros.</summary>
    public static Tensor Zeros(this Backend backend, TensorType type) => backend.Full(type, 0);

    /// <summary>A float32 tensor of zeros.</summary>
    public static Tensor Zeros(this Backend backend, Shape shape) => backend.Full(new TensorType(DType.F32, shape), 0);

    /// <summary>A scalar.</summary>
    public static Tensor Scalar(this Backend backend, double value, DType type = DType.F32) => backend.Full(new TensorType(type, []), value);
}
