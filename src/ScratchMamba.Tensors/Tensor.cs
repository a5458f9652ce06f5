using System.Buffers;
using System.Diagnostics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Tensors;

/// <summary>
/// A dense row-major array on a backend, immutable but for <see cref="Overwrite{TOperation}"/>, together with how it was computed where a gradient may be asked for.
/// Its memory belongs to the <see cref="Scope"/> that was open when it was made.
/// </summary>
[DebuggerDisplay("{ToString(),nq}")]
public sealed class Tensor
{
    internal Tensor(TensorType type, Storage storage)
    {
        Type = type;
        Storage = storage;
    }

    /// <summary>Element type and shape.</summary>
    public TensorType Type { get; }

    /// <summary>The extents.</summary>
    public Shape Shape => Type.Shape;

    /// <summary>The element type.</summary>
    public DType DType => Type.DType;

    /// <summary>The number of elements.</summary>
    public long Count => Type.Count;

    /// <summary>The backend that holds the data.</summary>
    public Backend Backend => Storage.Backend;

    /// <summary>The memory that holds the data; views share it.</summary>
    public Storage Storage { get; }

    /// <summary>Whether a gradient can be asked for: the tensor is tracked, or was computed from one that is.</summary>
    public bool RequiresGradient => IsTracked || Node is not null;

    /// <summary>Whether this is a leaf that <see cref="Differentiation.Backward(Tensor, Tensor?, bool)"/> reports a gradient for.</summary>
    public bool IsTracked { get; private init; }

    internal Node? Node { get; set; }

    internal int OutputIndex { get; set; }

    /// <summary>A leaf on the same data that gradients are reported for.</summary>
    public Tensor Track()
    {
        if (!DType.CarriesGradient())
            throw new ArgumentException($"A tensor of {DType} cannot carry a gradient.");
        Storage.Kept = true;
        return AsLeaf();
    }

    /// <summary>The same data without its history: no gradient passes through the result.</summary>
    public Tensor Detach()
    {
        Storage.Kept = true;
        return new Tensor(Type, Storage);
    }

    /// <summary>Keeps the data until the end of its scope, even when a backward pass has used it.</summary>
    public Tensor Keep()
    {
        Storage.Kept = true;
        return this;
    }

    /// <summary>Copies the elements to the host; those of quantised types as the bytes that <see cref="QuantizedBlocks"/> describes.</summary>
    /// <exception cref="ArgumentException"><typeparamref name="T"/> is not the element type, or the lengths differ.</exception>
    public void Read<T>(Span<T> destination) where T : unmanaged
    {
        CheckTransfer<T>(destination.Length);
        ThrowIfReleased();
        Backend.ThrowIfCapturing("read");
        Backend.Read(Storage, MemoryMarshal.AsBytes(destination));
    }

    /// <summary>The elements, as a new array in row-major order.</summary>
    public T[] ToArray<T>() where T : unmanaged
    {
        var values = new T[Count];
        Read<T>(values);
        return values;
    }

    /// <summary>
    /// The elements as they are now, for later: a device begins to copy them, and goes on with what it is given in the meantime, until somebody asks for the value.
    /// </summary>
    /// <exception cref="ArgumentException"><typeparamref name="T"/> is not the element type.</exception>
    public Lazy<T[]> ReadLater<T>() where T : unmanaged
    {
        CheckTransfer<T>(checked((int)Count));
        ThrowIfReleased();
        Backend.ThrowIfCapturing("read");
        Func<byte[]> bytes = Backend.ReadLater(Storage, checked((int)Type.Bytes));
        return new(() => MemoryMarshal.Cast<byte, T>(bytes()).ToArray());
    }

    /// <summary>The elements as doubles, whatever their type.</summary>
    public double[] ToDoubles() => DType switch
    {
        DType.F64 => ToArray<double>(),
        DType.F32 => Array.ConvertAll(ToArray<float>(), x => (double)x),
        DType.BF16 => Array.ConvertAll(ToArray<BFloat16>(), x => (double)(float)x),
        DType.F16 => Array.ConvertAll(ToArray<Half>(), x => (double)x),
        DType.Q8_0 or DType.Q4_0 => Expanded(),
        _ => Array.ConvertAll(ToArray<int>(), x => (double)x),
    };

    /// <summary>Copies the elements of a tensor of F32 or F64 to the host.</summary>
    /// <exception cref="ArgumentException">The element type is another, or the lengths differ.</exception>
    public void ReadDoubles(Span<double> destination)
    {
        if (DType != DType.F32)
        {
            Read(destination);
            return;
        }
        float[] values = ArrayPool<float>.Shared.Rent(destination.Length);
        Read(values.AsSpan(0, destination.Length));
        TensorPrimitives.ConvertTruncating(values.AsSpan(0, destination.Length), destination);
        ArrayPool<float>.Shared.Return(values);
    }

    /// <summary>The one element of a tensor that has one.</summary>
    public double Item() => Count == 1 ? ToDoubles()[0] : throw new ArgumentException($"Item needs a tensor with one element; this one is {Type}.");

    /// <summary>Replaces the elements in place; those of quantised types by the bytes that <see cref="QuantizedBlocks"/> describes.</summary>
    /// <exception cref="ArgumentException"><typeparamref name="T"/> is not the element type, or the lengths differ.</exception>
    public void Write<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        CheckTransfer<T>(values.Length);
        ThrowIfReleased();
        Backend.ThrowIfCapturing("written");
        Storage.Version++;
        Backend.Write(Storage, MemoryMarshal.AsBytes(values));
    }

    /// <summary>Replaces the elements of a tensor of F32 or F64 in place.</summary>
    /// <exception cref="ArgumentException">The element type is another, or the lengths differ.</exception>
    public void WriteDoubles(ReadOnlySpan<double> values)
    {
        if (DType != DType.F32)
        {
            Write(values);
            return;
        }
        float[] rounded = ArrayPool<float>.Shared.Rent(values.Length);
        TensorPrimitives.ConvertTruncating(values, rounded.AsSpan(0, values.Length));
        Write<float>(rounded.AsSpan(0, values.Length));
        ArrayPool<float>.Shared.Return(rounded);
    }

    /// <summary>Runs an operation with one output.</summary>
    public static Tensor Apply<TOperation>(TOperation operation, params ReadOnlySpan<Tensor> inputs) where TOperation : struct, IPrimitive =>
        ApplyAll(operation, inputs)[0];

    /// <summary>Runs an operation.</summary>
    /// <exception cref="ShapeException">The operation's rule does not allow these inputs.</exception>
    public static Tensor[] ApplyAll<TOperation>(TOperation operation, params ReadOnlySpan<Tensor> inputs) where TOperation : struct, IPrimitive =>
        Run(operation, CommonBackend(operation, inputs), inputs);

    /// <summary>Runs an operation that has no inputs.</summary>
    public static Tensor Create<TOperation>(Backend backend, TOperation operation) where TOperation : struct, IPrimitive =>
        Run(operation, backend, [])[0];

    /// <summary>
    /// Runs an operation on the data of existing tensors, replacing it. An output may share its memory with an input of the same shape where the
    /// operation works element by element. Nothing is recorded; a recorded computation that still needs the old data says so when its gradient is asked.
    /// </summary>
    public static void Overwrite<TOperation>(TOperation operation, ReadOnlySpan<Tensor> inputs, params ReadOnlySpan<Tensor> outputs)
        where TOperation : struct, IPrimitive
    {
        IPrimitive boxed = operation;
        Backend backend = CommonBackend(operation, inputs.Length > 0 ? inputs : outputs);
        TensorType[] types = boxed.Infer(TypesOf(inputs));
        if (types.Length != outputs.Length)
            throw new ArgumentException($"{boxed.Name} has {types.Length} outputs; {outputs.Length} tensors were given to overwrite.");
        for (int i = 0; i < types.Length; i++)
        {
            if (types[i] != outputs[i].Type)
                throw new ArgumentException($"{boxed.Name} writes {types[i]}, but the tensor to overwrite is {outputs[i].Type}.");
            outputs[i].ThrowIfReleased();
            outputs[i].Storage.Version++;
        }
        backend.Perform(new Call(boxed, inputs, outputs));
    }

    /// <summary>For example <c>F32 [2, 3]</c>.</summary>
    public override string ToString() => Type.ToString();

    internal static Tensor Allocate(Backend backend, TensorType type) => new(type, backend.Rent(type));

    internal static Tensor[] Run(IPrimitive operation, Backend backend, ReadOnlySpan<Tensor> inputs)
    {
        TensorType[] types = operation.Infer(TypesOf(inputs));
        var outputs = new Tensor[types.Length];
        if (operation is IViewPrimitive)
        {
            outputs[0] = new Tensor(types[0], inputs[0].Storage);
        }
        else
        {
            for (int i = 0; i < types.Length; i++)
                outputs[i] = Allocate(backend, types[i]);
            backend.Perform(new Call(operation, inputs, outputs));
        }
        Node.Record(operation, inputs, outputs);
        return outputs;
    }

    internal static TensorType[] TypesOf(ReadOnlySpan<Tensor> tensors)
    {
        var types = new TensorType[tensors.Length];
        for (int i = 0; i < types.Length; i++)
            types[i] = tensors[i].Type;
        return types;
    }

    internal Tensor AsLeaf() => new(Type, Storage) { IsTracked = true };

    internal void ThrowIfReleased()
    {
        if (Storage.Released)
            throw new ObjectDisposedException(null, $"This tensor, {Type}, was released: its scope ended, or a backward pass used it. Keep it to hold on to it.");
    }

    private static Backend CommonBackend(IPrimitive operation, ReadOnlySpan<Tensor> inputs)
    {
        if (inputs.IsEmpty)
            throw new ArgumentException($"{operation.Name} needs at least one input, or a backend.");
        foreach (Tensor input in inputs)
        {
            input.ThrowIfReleased();
            if (input.Backend != inputs[0].Backend)
                throw new ArgumentException($"{operation.Name}: one input is on {inputs[0].Backend.Name}, another on {input.Backend.Name}.");
        }
        return inputs[0].Backend;
    }

    private double[] Expanded()
    {
        var bytes = new byte[Type.Bytes];
        Read<byte>(bytes);
        var values = new float[Count];
        QuantizedBlocks.Expand(DType, bytes, values);
        return Array.ConvertAll(values, x => (double)x);
    }

    private void CheckTransfer<T>(int length) where T : unmanaged
    {
        if (DType.IsQuantized() && typeof(T) == typeof(byte) && length == Type.Bytes)
            return;
        if (DTypes.Of<T>() != DType)
            throw new ArgumentException($"This tensor holds {DType}, not {typeof(T).Name}.");
        if (length != Count)
            throw new ArgumentException($"This tensor, {Type}, has {Count} elements, not {length}.");
    }
}
