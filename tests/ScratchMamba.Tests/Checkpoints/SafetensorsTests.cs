using System.Buffers.Binary;
using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Checkpoints;

public sealed class SafetensorsTests : IDisposable
{
    private const string OneTensor = """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("""{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}""", 8, "tensor a: dtype F31 is not one of")]
    [InlineData("""{"a":{"dtype":"1","shape":[2],"data_offsets":[0,8]}}""", 8, "tensor a: dtype 1 is not one of")]
    [InlineData("""{"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}}""", 8, "tensor a: dtype 7 is not one of")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "tensor a: extent -2")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,8]}}""", 8, "tensor a: extent 1.5")]
    [InlineData("""{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}""", 8, "tensor a: extent \"2\"")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3000000000],"data_offsets":[0,8]}}""", 8, "tensor a: extent 3000000000")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2000000000,2000000000,2000000000],"data_offsets":[0,8]}}""", 8, "tensor a: its shape [2000000000, 2000000000, 2000000000] has more")]
    [InlineData("""{"a":{"dtype":"F64","shape":[2000000000,2000000000],"data_offsets":[0,8]}}""", 8, "tensor a: its shape [2000000000, 2000000000] has more")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}""", 8, "tensor a: its shape has 9 axes")]
    [InlineData("""{"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}""", 8, "tensor a: its shape is not an array")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "tensor a: F32 [3] takes 12 bytes, but its offsets 0 to 8 hold 8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "tensor a: data_offsets [8,0] are not")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8, "tensor a: data_offsets [-8,0] are not")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "tensor a: data_offsets [0] are not")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775808]}}""", 8, "tensor a: data_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 7, "tensor a: its offsets 0 to 8 lie outside the 7 bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, ": 1 bytes follow the last tensor")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "tensor a: there is a gap of 4 bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "tensor b: its offsets 4 to 12 overlap")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "tensor a: is described twice")]
    [InlineData("""{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}""", 8, "tensor a: dtype is given twice")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2]}}""", 8, "tensor a: its description lacks")]
    [InlineData("""{"a":7}""", 0, "tensor a: its description is not a JSON object")]
    [InlineData("""{"a\n":7}""", 0, "tensor a?: its description is not a JSON object")]
    [InlineData("""[]""", 0, "the header is not a JSON object")]
    [InlineData("""{"a":""", 0, "the header is not valid JSON")]
    [InlineData("""{"\ud800":7}""", 0, "the header is not valid JSON")]
    [InlineData("", 0, "the header is not valid JSON")]
    [InlineData("""{"__metadata__":[]}""", 0, "__metadata__ is not a JSON object")]
    [InlineData("""{"__metadata__":{"a":1}}""", 0, "__metadata__ value a is not a string")]
    [InlineData("""{"__metadata__":{"a":"1","a":"2"}}""", 0, "__metadata__ value a is given twice")]
    public void AFaultIsNamedInOneLine(string header, int dataBytes, string message) =>
        AssertFault(Bytes((ulong)Encoding.UTF8.GetByteCount(header), header, dataBytes), message);

    [Fact]
    public void AFileTooShortForItsHeaderIsRefused()
    {
        AssertFault([1, 2, 3], "3 bytes are too short");
        AssertFault(Bytes(1000, OneTensor, 8), "the header would have 1,000 bytes, but the file has 70");
        AssertFault(Bytes(ulong.MaxValue, OneTensor, 8), "the header would have");
        AssertFault(Bytes((ulong)OneTensor.Length, OneTensor, 8)[..40], "the header would have");
    }

    [Theory, InlineData(0x0280), InlineData(0x0580), InlineData(0x4B50), InlineData(0x7B), InlineData(0x20)]
    public void ALengthThatLooksLikeAnotherFormatIsALength(int length)
    {
        string path = folder.File("model.safetensors"), header = OneTensor.PadRight(length);
        if (length < OneTensor.Length)
            header = "{}".PadRight(length);
        File.WriteAllBytes(path, Bytes((ulong)length, header, length < OneTensor.Length ? 0 : 8));
        using WeightSource file = WeightSource.Open(path);
        Assert.IsType<SafetensorsFile>(file);
    }

    [Fact]
    public void AnEnormousHeaderIsRefused()
    {
        string path = folder.File("a.safetensors");
        using (FileStream stream = File.Create(path))
        {
            // A sparse file: nothing of this size is written.
            stream.Write(Bytes(SafetensorsFile.MaxHeaderBytes + 1, "", 0));
            stream.SetLength(SafetensorsFile.MaxHeaderBytes + 100);
        }
        Assert.Contains("more than the 100,000,000 allowed", Assert.Throws<CheckpointException>(() => new SafetensorsFile(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AFileOfTenGigabytesIsOpenedWithoutReadingIt()
    {
        string path = folder.File("large.safetensors");
        using (FileStream stream = File.Create(path))
        {
            // A sparse file: nothing of this size is written, and nothing of it read.
            const string Header = """{"a":{"dtype":"F32","shape":[2500,1000000],"data_offsets":[0,10000000000]},"b":{"dtype":"F32","shape":[2],"data_offsets":[10000000000,10000000008]}}""";
            stream.Write(Bytes((ulong)Header.Length, Header, 0));
            stream.SetLength(stream.Length + 10_000_000_008);
        }
        long before = GC.GetAllocatedBytesForCurrentThread();
        using WeightSource file = WeightSource.Open(path);
        Assert.Equal(10_000_000_000, file.Entry("a").Bytes);
        Assert.Equal([0, 0], file.ReadFloats("b"));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Fact]
    public void AMissingFileOrTensorIsNamed()
    {
        Assert.Contains("no.safetensors", Assert.Throws<CheckpointException>(() => WeightSource.Open(folder.File("no.safetensors"))).Message, StringComparison.Ordinal);
        Assert.Contains("neither", Assert.Throws<CheckpointException>(() => WeightSource.Open(folder.Path)).Message, StringComparison.Ordinal);
        using SafetensorsFile file = Save(WeightToSave.Of<float>("a", [2], new float[2]));
        Assert.Contains("there is no tensor b", Assert.Throws<CheckpointException>(() => file.ReadFloats("b")).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => file.Read<float>("a", new float[3]));
    }

    [Fact]
    public void EveryTypeIsRead()
    {
        const string Header = """
            {"d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"l":{"dtype":"I64","shape":[2],"data_offsets":[16,32]},"f":{"dtype":"F32","shape":[],"data_offsets":[32,36]},
             "i":{"dtype":"I32","shape":[1,1],"data_offsets":[36,40]},"h":{"dtype":"F16","shape":[2],"data_offsets":[40,44]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[44,48]},
             "e":{"dtype":"F32","shape":[0,3],"data_offsets":[48,48]},"w":{"dtype":"I64","shape":[1],"data_offsets":[48,56]}}
            """;
        byte[] bytes = Bytes((ulong)Header.Length, Header, 56);
        Span<byte> data = bytes.AsSpan(8 + Header.Length);
        BinaryPrimitives.WriteDoubleLittleEndian(data, 1e-300);
        BinaryPrimitives.WriteDoubleLittleEndian(data[8..], 0.1);
        BinaryPrimitives.WriteInt64LittleEndian(data[16..], int.MinValue);
        BinaryPrimitives.WriteInt64LittleEndian(data[24..], 5);
        BinaryPrimitives.WriteSingleLittleEndian(data[32..], 0.1f);
        BinaryPrimitives.WriteInt32LittleEndian(data[36..], -7);
        BinaryPrimitives.WriteHalfLittleEndian(data[40..], (Half)0.1);
        BinaryPrimitives.WriteHalfLittleEndian(data[42..], Half.NegativeInfinity);
        BinaryPrimitives.WriteUInt16LittleEndian(data[44..], 0x3F80);
        BinaryPrimitives.WriteUInt16LittleEndian(data[46..], 0xC049);
        BinaryPrimitives.WriteInt64LittleEndian(data[48..], 1L << 31);
        string path = folder.File("types.safetensors");
        File.WriteAllBytes(path, bytes);
        using var file = new SafetensorsFile(path);

        Assert.Equal(["d", "l", "f", "i", "h", "b", "e", "w"], file.Names);
        Assert.Equal(new StoredTensor("h", StoredType.F16, [2]), file.Entry("h"));
        Assert.Equal([1e-300, 0.1], file.ReadDoubles("d"));
        Assert.Equal([0f, 0.1f], file.ReadFloats("d"));
        Assert.Equal([int.MinValue, 5], file.ReadInts("l"));
        Assert.Equal([0.1f], file.ReadFloats("f"));
        Assert.Equal([(double)0.1f], file.ReadDoubles("f"));
        Assert.Equal([-7], file.ReadInts("i"));
        Assert.Equal([(double)(Half)0.1, double.NegativeInfinity], file.ReadDoubles("h"));
        Assert.Equal([1f, -3.140625f], file.ReadFloats("b"));
        Assert.Empty(file.ReadFloats("e"));
        Assert.Contains("tensor w holds 2147483648", Assert.Throws<CheckpointException>(() => file.ReadInts("w")).Message, StringComparison.Ordinal);
        Assert.Contains("tensor f holds F32, which is not read as Int32", Assert.Throws<CheckpointException>(() => file.ReadInts("f")).Message, StringComparison.Ordinal);
        Assert.Contains("tensor l holds I64", Assert.Throws<CheckpointException>(() => file.ReadFloats("l")).Message, StringComparison.Ordinal);
        Assert.Throws<CheckpointException>(() => file.Read<long>("l", new long[2]));
    }

    [Fact]
    public void TensorsAndMetadataComeBack()
    {
        using var cpu = new CpuBackend();
        var metadata = new Dictionary<string, string> { ["format"] = "pt", ["note"] = "é\n\"quoted\" \U0001F40D" };
        float[] large = [.. Enumerable.Range(0, 100_000).Select(i => i * 0.25f)];
        using SafetensorsFile file = Save(
            metadata,
            WeightToSave.Of("z", cpu.Tensor<double>([2], 0.1, double.NaN)),
            WeightToSave.Of("a", cpu.Tensor<float>([10, 10_000], large)),
            WeightToSave.Of("naïve name", cpu.Tensor<int>([], -3)));
        Assert.Equal(metadata, file.Metadata);
        Assert.Equal(["z", "a", "naïve name"], file.Names);
        Assert.Equal([0.1, double.NaN], file.ReadDoubles("z"));
        Assert.Equal(large, file.ReadFloats("a"));
        Assert.Equal([-3], file.ReadInts("naïve name"));
        Assert.Equal(new Shape(10, 10_000), file.Entry("a").Shape);
        byte[] bytes = File.ReadAllBytes(file.Path);
        Assert.Equal(0UL, BinaryPrimitives.ReadUInt64LittleEndian(bytes) % 8);
    }

    [Fact]
    public void AFailedSaveLeavesTheOldFile()
    {
        Save(WeightToSave.Of<float>("a", [1], new[] { 5f })).Dispose();
        string path = folder.File("model.safetensors");
        var full = new WeightToSave("b", StoredType.F32, [1], _ => throw new IOException("No space left on device"));
        CheckpointException error = Assert.Throws<CheckpointException>(() => SafetensorsWriter.Write(path, [full]));
        Assert.Contains("No space left on device", error.Message, StringComparison.Ordinal);
        var shorter = new WeightToSave("b", StoredType.F32, [2], stream => stream.Write(new byte[7]));
        Assert.Contains("has 8 bytes; 7 were written", Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(path, [shorter])).Message, StringComparison.Ordinal);
        WeightToSave one = WeightToSave.Of<float>("a", [1], new float[1]);
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(path, [one, one]));
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(path, [one with { Name = "__metadata__" }]));

        Assert.Equal([path], Directory.GetFiles(folder.Path));
        using var file = new SafetensorsFile(path);
        Assert.Equal([5f], file.ReadFloats("a"));
    }

    [Fact]
    public void AFileMayBeReplacedWhileItIsRead()
    {
        using SafetensorsFile before = Save(WeightToSave.Of<float>("a", [1], new[] { 5f }));
        using SafetensorsFile after = Save(WeightToSave.Of<float>("a", [1], new[] { 6f }));
        Assert.Equal([5f], before.ReadFloats("a"));
        Assert.Equal([6f], after.ReadFloats("a"));
    }

    [Fact]
    public void ALargeCheckpointIsDivided()
    {
        WeightToSave[] weights = [.. Enumerable.Range(0, 5).Select(i => WeightToSave.Of<float>($"t{i}", [i + 1], Enumerable.Repeat((float)i, i + 1).ToArray()))];
        SafetensorsWriter.WriteFolder(folder.Path, weights, new Dictionary<string, string> { ["format"] = "pt" }, shardBytes: 16);
        Assert.Equal(
            [
                "model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                "model.safetensors.index.json",
            ],
            Directory.GetFiles(folder.Path).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal));
        using WeightSource source = WeightSource.Open(folder.Path);
        Assert.Equal(["t0", "t1", "t2", "t3", "t4"], source.Names);
        Assert.Equal("60", source.Metadata["total_size"]);
        for (int i = 0; i < 5; i++)
            Assert.Equal(Enumerable.Repeat((float)i, i + 1), source.ReadFloats($"t{i}"));
        Assert.Throws<CheckpointException>(() => source.Entry("t5"));
        Assert.Throws<CheckpointException>(() => SafetensorsWriter.WriteFolder(folder.Path, weights));
    }

    [Fact]
    public void ASmallCheckpointIsOneFile()
    {
        SafetensorsWriter.WriteFolder(folder.Path, [WeightToSave.Of<float>("a", [2], new[] { 1f, 2f })]);
        Assert.Equal([folder.File("model.safetensors")], Directory.GetFiles(folder.Path));
        using WeightSource source = WeightSource.Open(folder.Path);
        Assert.Equal([1f, 2f], source.ReadFloats("a"));
    }

    [Theory]
    [InlineData("""{"weight_map":{"a":"../model.safetensors"}}""", "is not the name of a file in this folder")]
    [InlineData("""{"weight_map":{"a":"/etc/passwd"}}""", "is not the name of a file in this folder")]
    [InlineData("""{"weight_map":{"a":3}}""", "is not the name of a file in this folder")]
    [InlineData("""{"weight_map":{"a":"none.safetensors"}}""", "none.safetensors: cannot be opened")]
    [InlineData("""{"weight_map":{"b":"model.safetensors"}}""", "tensor b should be in model.safetensors, but is not")]
    [InlineData("""{"weight_map":{"a":"model.safetensors","a":"model.safetensors"}}""", "line 1")]
    [InlineData("""{"weight_map":{"a":"model.safetensors.index.json"}}""", "the header would have")]
    [InlineData("""{"weights":{}}""", "there is no weight_map")]
    [InlineData("{\n\n", "line 3")]
    public void AFaultyIndexIsRefused(string index, string message)
    {
        Save(WeightToSave.Of<float>("a", [1], new float[1])).Dispose();
        string path = folder.File("model.safetensors.index.json");
        File.WriteAllText(path, index);
        CheckpointException error = Assert.Throws<CheckpointException>(() => WeightSource.Open(path));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void RandomTensorsComeBack() => Properties.ForAll(50, (choices, seed) =>
    {
        var random = new Random(seed);
        var weights = new List<WeightToSave>();
        var expected = new Dictionary<string, double[]>();
        foreach (int choice in choices)
        {
            string name = $"t{weights.Count}.{(char)('!' + (uint)choice % 500)}";
            Shape shape = new([.. Enumerable.Range(0, (int)((uint)choice % 4)).Select(_ => random.Next(5))]);
            double[] values = [.. Enumerable.Range(0, (int)shape.Count).Select(_ => (double)random.Next())];
            weights.Add((choice & 1) == 0 ? WeightToSave.Of<double>(name, shape, values) : WeightToSave.Of<int>(name, shape, Array.ConvertAll(values, x => (int)x)));
            expected.Add(name, values);
        }
        using SafetensorsFile file = Save([.. weights]);
        Assert.Equal(weights.Select(weight => weight.Name), file.Names);
        foreach (WeightToSave weight in weights)
        {
            Assert.Equal(weight.Shape, file.Entry(weight.Name).Shape);
            Assert.Equal(expected[weight.Name], weight.Type == StoredType.F64 ? file.ReadDoubles(weight.Name) : Array.ConvertAll(file.ReadInts(weight.Name), x => (double)x));
        }
    });

    [Fact]
    public void DamageIsNeverMoreThanACheckpointException() =>
        Corruption.Check(File.ReadAllBytes(Golden.File("hf-tiny/model.safetensors")), folder.File("damaged.safetensors"), 1000, Corruption.ReadAll);

    [Fact]
    public void GoldenFilesAreRead()
    {
        using WeightSource model = WeightSource.Open(Golden.File("hf-tiny")), expected = WeightSource.Open(Golden.File("hf-tiny/expected.safetensors"));
        Assert.Equal(new Shape(2, 75), expected.Entry("input_ids").Shape);
        Assert.All(expected.ReadInts("input_ids"), id => Assert.InRange(id, 0, 1000));
        foreach (string name in model.Names)
        {
            Assert.Equal(model.Entry(name).Shape, expected.Entry("grad." + name).Shape);
            Assert.All(model.ReadFloats(name), value => Assert.True(float.IsFinite(value)));
            Assert.All(expected.ReadDoubles("grad." + name), value => Assert.True(double.IsFinite(value)));
        }
        Assert.Single(expected.ReadDoubles("loss"));
        using WeightSource tied = WeightSource.Open(Golden.File("ssm-tied/expected.safetensors"));
        Assert.Equal(new Shape(2, 130, 96), tied.Entry("logits").Shape);
    }

    private static byte[] Bytes(ulong headerLength, string header, int dataBytes)
    {
        byte[] text = Encoding.UTF8.GetBytes(header), bytes = new byte[8 + text.Length + dataBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, headerLength);
        text.CopyTo(bytes, 8);
        return bytes;
    }

    private void AssertFault(byte[] content, string message)
    {
        string path = folder.File("a.safetensors");
        File.WriteAllBytes(path, content);
        CheckpointException error = Assert.Throws<CheckpointException>(() => new SafetensorsFile(path));
        Assert.StartsWith(path + ": ", error.Message, StringComparison.Ordinal);
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    private SafetensorsFile Save(params WeightToSave[] weights) => Save(null, weights);

    private SafetensorsFile Save(Dictionary<string, string>? metadata, params WeightToSave[] weights)
    {
        string path = folder.File("model.safetensors");
        SafetensorsWriter.Write(path, weights, metadata);
        return new SafetensorsFile(path);
    }
}
