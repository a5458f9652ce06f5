using System.Buffers.Binary;
using System.Text;

namespace ScratchMamba.Checkpoints;

/// <summary>What a pickle's instruction names: a class or a function. It is only ever compared with the few that are known; nothing is looked up or called.</summary>
internal sealed record PickleGlobal(string Module, string Name)
{
    public override string ToString() => $"{Module}.{Name}";
}

/// <summary>The bytes of a tensor, or of several that share them.</summary>
internal sealed record PickleStorage(StoredType Type, string Key, long Count);

/// <summary>A tensor as a window onto a storage; offset, extents and strides in elements.</summary>
internal sealed record PickleTensor(PickleStorage Storage, long Offset, long[] Extents, long[] Strides);

/// <summary>
/// Reads the part of Python's pickle format that PyTorch writes for a dictionary of tensors. A pickle is a program for a stack machine; this machine knows no instruction that
/// runs code: it builds dictionaries, lists, tuples, numbers and strings, and of calls it knows the three that make a tensor or an ordered dictionary. All else is refused by name.
/// </summary>
internal sealed class PickleReader
{
    /// <summary>The largest pickle that is read: one of ten thousand tensors has a tenth of it.</summary>
    public const int MostBytes = 1 << 23;

    // Each instruction makes at most one small object, so that this bounds the memory.
    private const int MostInstructions = 1 << 19;

    private static readonly object Mark = new();

    private readonly byte[] bytes;
    private readonly string source;
    private readonly List<object?> stack = [];
    private readonly Dictionary<uint, object?> memo = [];
    private int position;

    private PickleReader(byte[] bytes, string source)
    {
        this.bytes = bytes;
        this.source = source;
    }

    /// <summary>What a pickle describes.</summary>
    /// <param name="bytes">The pickle.</param>
    /// <param name="source">What messages begin with.</param>
    /// <exception cref="CheckpointException">It is damaged, or has an instruction, a class or a function that is not known.</exception>
    public static object? Read(byte[] bytes, string source) => new PickleReader(bytes, source).Run();

    private object? Run()
    {
        for (int count = 0; count < MostInstructions; count++)
        {
            byte code = Take(1)[0];
            if (code == '.')
                return Pop();
            Execute(code);
        }
        throw Fault($"has more than {MostInstructions:N0} instructions");
    }

    private void Execute(byte code)
    {
        switch (code)
        {
            case 0x80: // PROTO
                byte version = Take(1)[0];
                if (version is < 2 or > 5)
                    throw Fault($"has protocol {version}, not 2 to 5");
                break;
            case 0x95: // FRAME
                Take(8);
                break;
            case (byte)'(':
                stack.Add(Mark);
                break;
            case (byte)'0': // POP
                Pop();
                break;
            case (byte)'N':
                stack.Add(null);
                break;
            case 0x88 or 0x89: // NEWTRUE, NEWFALSE
                stack.Add(code == 0x88);
                break;
            case (byte)'K':
                stack.Add((long)Take(1)[0]);
                break;
            case (byte)'M':
                stack.Add((long)BinaryPrimitives.ReadUInt16LittleEndian(Take(2)));
                break;
            case (byte)'J':
                stack.Add((long)BinaryPrimitives.ReadInt32LittleEndian(Take(4)));
                break;
            case 0x8A: // LONG1
                stack.Add(Long(Take(Take(1)[0])));
                break;
            case (byte)'G':
                stack.Add(BinaryPrimitives.ReadDoubleBigEndian(Take(8)));
                break;
            case (byte)'X':
                stack.Add(Text(Take(Length(BinaryPrimitives.ReadUInt32LittleEndian(Take(4))))));
                break;
            case 0x8C: // SHORT_BINUNICODE
                stack.Add(Text(Take(Take(1)[0])));
                break;
            case (byte)']':
                stack.Add(new List<object?>(0));
                break;
            case (byte)'}':
                stack.Add(new PickleDictionary());
                break;
            case (byte)')':
                stack.Add(Array.Empty<object?>());
                break;
            case (byte)'t':
                stack.Add(TakeToMark());
                break;
            case >= 0x85 and <= 0x87: // TUPLE1, TUPLE2, TUPLE3
                stack.Add(TakeLast(code - 0x84));
                break;
            case (byte)'a':
                object? appended = Pop();
                Top<List<object?>>("a list").Add(appended);
                break;
            case (byte)'e':
                object?[] items = TakeToMark();
                Top<List<object?>>("a list").AddRange(items);
                break;
            case (byte)'s':
                object?[] pair = TakeLast(2);
                SetItems(pair);
                break;
            case (byte)'u':
                SetItems(TakeToMark());
                break;
            case (byte)'c':
                stack.Add(new PickleGlobal(Line(), Line()));
                break;
            case 0x93: // STACK_GLOBAL
                object?[] names = TakeLast(2);
                stack.Add(names is [string module, string name] ? new PickleGlobal(module, name) : throw Fault("names a global by something else than text"));
                break;
            case (byte)'Q': // BINPERSID
                stack.Add(Storage(Pop()));
                break;
            case (byte)'R': // REDUCE
                object? arguments = Pop(), function = Pop();
                stack.Add(Call(function, arguments as object?[]));
                break;
            case (byte)'b': // BUILD: attributes of a dictionary, such as the versions of modules
                Pop();
                Top<PickleDictionary>("a dictionary");
                break;
            case (byte)'q':
                memo[Take(1)[0]] = Peek();
                break;
            case (byte)'r':
                memo[BinaryPrimitives.ReadUInt32LittleEndian(Take(4))] = Peek();
                break;
            case 0x94: // MEMOIZE
                memo[(uint)memo.Count] = Peek();
                break;
            case (byte)'h':
                Get(Take(1)[0]);
                break;
            case (byte)'j':
                Get(BinaryPrimitives.ReadUInt32LittleEndian(Take(4)));
                break;
            default:
                throw Fault($"has instruction 0x{code:X2}{(code is > 32 and < 127 ? $" '{(char)code}'" : "")} at byte {position - 1}, which no dictionary of tensors needs");
        }
    }

    private object? Call(object? function, object?[]? arguments) => (function, arguments) switch
    {
        (PickleGlobal { Module: "collections", Name: "OrderedDict" }, []) => new PickleDictionary(),
        (PickleGlobal { Module: "collections", Name: "OrderedDict" }, [List<object?> pairs]) => Ordered(pairs),
        (PickleGlobal { Module: "torch._utils", Name: "_rebuild_tensor_v2" }, [PickleStorage storage, long offset, object?[] extents, object?[] strides, ..])
            => new PickleTensor(storage, offset, Numbers(extents), Numbers(strides)),
        (PickleGlobal { Module: "torch._utils", Name: "_rebuild_parameter" }, [PickleTensor tensor, ..]) => tensor,
        (PickleGlobal global, _) when global is not ({ Module: "collections", Name: "OrderedDict" } or { Module: "torch._utils", Name: "_rebuild_tensor_v2" or "_rebuild_parameter" })
            => throw Fault($"calls {CheckpointException.Shown(global.ToString())}, which no dictionary of tensors needs; nothing was run"),
        (PickleGlobal global, _) => throw Fault($"calls {global} with other arguments than it has"),
        _ => throw Fault("calls something that is no function"),
    };

    private PickleDictionary Ordered(List<object?> pairs)
    {
        var dictionary = new PickleDictionary();
        foreach (object? pair in pairs)
        {
            if (pair is object?[] or List<object?> && (pair as object?[] ?? ((List<object?>)pair).ToArray()) is [string key, var value])
                dictionary[key] = value;
            else
                throw Fault("has an ordered dictionary of something else than pairs");
        }
        return dictionary;
    }

    private PickleStorage Storage(object? id)
    {
        if (id is not object?[] and not null || id is not object?[] parts || parts is not ["storage", PickleGlobal type, string key, _, long count, ..] || count < 0)
            throw Fault("refers to something else than a storage");
        return new PickleStorage(
            type is not { Module: "torch" } ? throw Unknown() : type.Name switch
            {
                "FloatStorage" => StoredType.F32,
                "DoubleStorage" => StoredType.F64,
                "HalfStorage" => StoredType.F16,
                "BFloat16Storage" => StoredType.BF16,
                "LongStorage" => StoredType.I64,
                "IntStorage" => StoredType.I32,
                _ => throw Unknown(),
            },
            key,
            count);

        CheckpointException Unknown() => Fault($"has a storage of type {CheckpointException.Shown(type.ToString())}, which is not supported");
    }

    private void SetItems(object?[] items)
    {
        if (items.Length % 2 != 0)
            throw Fault("sets a key without a value");
        PickleDictionary dictionary = Top<PickleDictionary>("a dictionary");
        for (int i = 0; i < items.Length; i += 2)
            dictionary[items[i] as string ?? (items[i] is long number ? number.ToString() : throw Fault("has a key that is neither text nor a number"))] = items[i + 1];
    }

    private long[] Numbers(object?[] values) => values.Length <= 16 && values.All(value => value is long)
        ? [.. values.Select(value => (long)value!)]
        : throw Fault("has a tensor with a shape that is none");

    private void Get(uint index) => stack.Add(memo.TryGetValue(index, out object? value) ? value : throw Fault($"recalls entry {index}, which was never stored"));

    private object?[] TakeToMark()
    {
        int mark = stack.LastIndexOf(Mark);
        if (mark < 0)
            throw Fault("ends a group that was never begun");
        object?[] items = [.. stack[(mark + 1)..]];
        stack.RemoveRange(mark, stack.Count - mark);
        return items;
    }

    private object?[] TakeLast(int count)
    {
        if (stack.Count < count)
            throw Fault("takes from an empty stack");
        object?[] items = [.. stack[^count..]];
        stack.RemoveRange(stack.Count - count, count);
        return items.Contains(Mark) ? throw Fault("takes the beginning of a group for a value") : items;
    }

    private object? Pop() => TakeLast(1)[0];

    private object? Peek() => stack.Count > 0 && stack[^1] != Mark ? stack[^1] : throw Fault("stores what is not there");

    private T Top<T>(string what) where T : class => stack.Count > 0 && stack[^1] is T top ? top : throw Fault($"adds to something that is not {what}");

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > bytes.Length - position)
            throw Fault("is cut short");
        position += count;
        return bytes.AsSpan(position - count, count);
    }

    private int Length(uint length) => length <= (uint)bytes.Length ? (int)length : throw Fault("is cut short");

    private long Long(ReadOnlySpan<byte> value)
    {
        if (value.Length > 8)
            throw Fault("has a number of more than 64 bits");
        long result = 0;
        for (int i = value.Length - 1; i >= 0; i--)
            result = i == value.Length - 1 ? (sbyte)value[i] : result << 8 | value[i];
        return result;
    }

    private static string Text(ReadOnlySpan<byte> utf8) => Encoding.UTF8.GetString(utf8);

    private string Line()
    {
        int length = bytes.AsSpan(position).IndexOf((byte)'\n');
        if (length < 0)
            throw Fault("is cut short");
        string line = Encoding.UTF8.GetString(Take(length));
        position++;
        return line;
    }

    private CheckpointException Fault(string what) => new($"{source}: the pickle {what}");
}

/// <summary>A dictionary by text; without entries it takes hardly any memory.</summary>
internal sealed class PickleDictionary
{
    private Dictionary<string, object?>? entries;

    public IEnumerable<KeyValuePair<string, object?>> Entries => entries ?? [];

    public object? this[string key]
    {
        set => (entries ??= new Dictionary<string, object?>(StringComparer.Ordinal))[key] = value;
    }
}
