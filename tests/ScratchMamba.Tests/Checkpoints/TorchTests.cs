using System.IO.Compression;
using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tensors;

namespace ScratchMamba.Tests.Checkpoints;

public sealed class TorchTests : IDisposable
{
    private static readonly float[] Counted = [.. Enumerable.Range(0, 12).Select(i => (float)i)];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static string Formats(string name) => Golden.File($"formats/{name}");

    [Fact]
    public void WhatTorchSavedIsRead()
    {
        using WeightSource file = WeightSource.Open(Formats("types.bin"));
        Assert.IsType<TorchFile>(file);
        Assert.Equal(["whole", "tied", "part", "row", "h", "b", "d", "i", "j", "p", "s", "e"], file.Names);
        foreach (string name in new[] { "whole", "tied", "h", "b", "d", "p" })
        {
            Assert.Equal(new Shape(3, 4), file.Entry(name).Shape);
            Assert.Equal(Counted, file.ReadFloats(name));
        }
        Assert.Equal([4, 5, 6, 7], file.ReadFloats("part"));
        Assert.Equal(Counted[4..], file.ReadFloats("row"));
        Assert.Equal([0, 1, 2], file.ReadInts("i"));
        Assert.Equal([0, 1, 2], file.ReadInts("j"));
        Assert.Equal([2.5f], file.ReadFloats("s"));
        Assert.Equal(new Shape(), file.Entry("s").Shape);
        Assert.Empty(file.ReadFloats("e"));
        Assert.Equal([StoredType.F16, StoredType.BF16, StoredType.F64, StoredType.I64, StoredType.I32], new[] { "h", "b", "d", "i", "j" }.Select(name => file.Entry(name).Type));
    }

    [Theory]
    [InlineData("view.bin", "tensor t", "strides [1, 4]", "contiguous")]
    [InlineData("legacy.bin", "before 1.6", "save it again")]
    [InlineData("number.bin", "entry a is not a tensor")]
    [InlineData("module.bin", "0x81")]
    [InlineData("complex.bin", "torch.ComplexFloatStorage")]
    public void WhatIsNoDictionaryOfTensorsIsRefused(string name, params string[] words) => AssertFault(Formats(name), words);

    [Theory]
    [InlineData("cos\nsystem\n(X\x02\0\0\0lstR.", "os.system", "nothing was run")]
    [InlineData("cbuiltins\neval\n)R.", "builtins.eval")]
    [InlineData("(i__main__\nx\n.", "0x69 'i'")]
    [InlineData("}q\0(X\x01\0\0\0ah\0u.", "entry a is not a tensor")]
    [InlineData("]q\0h\0a.", "something else than a dictionary")]
    [InlineData("]q\0h\0ah\0s.", "adds to something that is not a dictionary")]
    [InlineData("h\x05.", "entry 5, which was never stored")]
    [InlineData("t.", "ends a group that was never begun")]
    [InlineData("R.", "takes from an empty stack")]
    [InlineData("((((.", "takes the beginning of a group")]
    [InlineData("X\xFF\xFF\xFF\xFF", "is cut short")]
    [InlineData("X\xFF\xFF\xFF\x7F", "is cut short")]
    [InlineData("\x8A\x09\0\0\0\0\0\0\0\0\0.", "more than 64 bits")]
    [InlineData("}(X\x01\0\0\0au.", "a key without a value")]
    [InlineData("}(NNu.", "a key that is neither")]
    [InlineData("(X\x07\0\0\0storagectorch\nQInt8Storage\nX\x01\0\0\0" + "0X\x03\0\0\0cpuK\x01tQ.", "torch.QInt8Storage")]
    [InlineData("NQ.", "something else than a storage")]
    [InlineData("ccollections\nOrderedDict\nNR.", "with other arguments")]
    [InlineData("X\x01\0\0\0aX\x01\0\0\0bR.", "calls something that is no function")]
    [InlineData("", "is cut short")]
    public void APickleThatIsNoneIsRefusedByName(string pickle, params string[] words)
    {
        Zip(("m/data.pkl", [0x80, 2, .. Encoding.Latin1.GetBytes(pickle)]));
        AssertFault(folder.File("m.bin"), words);
    }

    [Fact]
    public void DeepAndLongPicklesAreNoTrouble()
    {
        // A tuple in a tuple in a tuple…, and as many instructions as a pickle of the largest size has.
        Zip(("m/data.pkl", [0x80, 2, (byte)')', .. Enumerable.Repeat((byte)0x85, 500_000), (byte)'.']));
        AssertFault(folder.File("m.bin"), "something else than a dictionary");
        Zip(("m/data.pkl", [0x80, 2, .. Enumerable.Repeat((byte)'}', PickleReader.MostBytes - 10)]));
        AssertFault(folder.File("m.bin"), "instructions");
        Zip(("m/data.pkl", new byte[PickleReader.MostBytes + 1]));
        AssertFault(folder.File("m.bin"), "larger than");
    }

    [Theory]
    [InlineData("}q\0X\x01\0\0\0ah\0s.")]
    [InlineData("}q\0(X\x01\0\0\0a(h\0h\0tq\x01h\x01X\x01\0\0\0bh\0u.")]
    public void APickleThatHoldsItselfComesToAnEnd(string pickle)
    {
        Zip(("m/data.pkl", [0x80, 2, .. Encoding.Latin1.GetBytes(pickle)]));
        AssertFault(folder.File("m.bin"));
    }

    [Fact]
    public void AZipThatIsNotOfTorchIsRefused()
    {
        Zip(("m/other", [1]));
        AssertFault(folder.File("m.bin"), "no data.pkl");
        Zip(("m/data.pkl", [(byte)'}', (byte)'.']), ("n/data.pkl", [(byte)'}', (byte)'.']));
        AssertFault(folder.File("m.bin"), "several data.pkl");
        Zip(("m/data.pkl", [(byte)'}', (byte)'.']), ("m/byteorder", "big"u8.ToArray()));
        AssertFault(folder.File("m.bin"), "byte order 'big'");
        using (FileStream stream = File.Create(folder.File("m.bin")))
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create))
        {
            // A bomb: a gigabyte that takes a megabyte.
            using Stream entry = zip.CreateEntry("m/data/0", CompressionLevel.Fastest).Open();
            byte[] zeros = new byte[1 << 20];
            for (int i = 0; i < 64; i++)
                entry.Write(zeros);
        }
        AssertFault(folder.File("m.bin"), "m/data/0 is compressed");
    }

    [Fact]
    public void TensorsThatDoNotFitTheirStorageAreRefused()
    {
        byte[] whole = File.ReadAllBytes(Golden.File("ssm-tied/pytorch_model.bin"));
        // The first tensor's extents, 96 and 64, as TUPLE2 has them, and its offset.
        int at = whole.AsSpan().IndexOf((ReadOnlySpan<byte>)[(byte)'K', 0, (byte)'K', 96, (byte)'K', 64, 0x86]);
        string path = folder.File("m.bin");
        foreach ((int place, byte value, string words) in new (int, byte, string)[] { (3, 97, "does not fit"), (1, 1, "does not fit"), (5, 63, "strides") })
        {
            byte[] changed = [.. whole];
            changed[at + place] = value;
            File.WriteAllBytes(path, changed);
            AssertFault(path, "backbone.embedding.weight", words);
        }
    }

    [Fact]
    public void WhatIsWrittenComesBackAndSharesStorage()
    {
        string path = folder.File("w.bin");
        WeightToSave a = WeightToSave.Of<float>("a", [3, 4], Counted), d = WeightToSave.Of<double>("d", [2], new[] { 0.1, 0.2 }), i = WeightToSave.Of<int>("i", [], new[] { 7 });
        TorchWriter.Write(path, [a, d, a with { Name = "tied" }, i, WeightToSave.Of<float>("e", [0, 3], Array.Empty<float>())]);
        using (WeightSource file = WeightSource.Open(path))
        {
            Assert.Equal(["a", "d", "tied", "i", "e"], file.Names);
            Assert.Equal(Counted, file.ReadFloats("tied"));
            Assert.Equal([0.1, 0.2], file.ReadDoubles("d"));
            Assert.Equal([7], file.ReadInts("i"));
            Assert.Equal(new Shape(0, 3), file.Entry("e").Shape);
        }
        using ZipArchive zip = ZipFile.OpenRead(path);
        Assert.Equal(4, zip.Entries.Count(entry => entry.FullName.StartsWith("pytorch_model/data/", StringComparison.Ordinal)));
        // Another reader of zip files checks the sums.
        foreach (ZipArchiveEntry entry in zip.Entries)
        {
            using Stream stream = entry.Open();
            stream.CopyTo(Stream.Null);
        }
    }

    [Theory, InlineData("ssm-tied/pytorch_model.bin"), InlineData("formats/types.bin")]
    public void DamageIsNeverMoreThanACheckpointException(string name) =>
        Corruption.Check(File.ReadAllBytes(Golden.File(name)), folder.File("damaged.bin"), 1000, Corruption.ReadAll);

    private void Zip(params ReadOnlySpan<(string Name, byte[] Content)> entries)
    {
        using FileStream stream = File.Create(folder.File("m.bin"));
        var zip = new ZipWriter(stream);
        foreach ((string name, byte[] content) in entries)
            zip.Add(name, content.Length, target => target.Write(content));
        zip.Finish();
    }

    private static void AssertFault(string path, params string[] words)
    {
        CheckpointException error = Assert.Throws<CheckpointException>(() => WeightSource.Open(path));
        Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
        Assert.All(words, word => Assert.Contains(word, error.Message, StringComparison.Ordinal));
        Assert.DoesNotContain('\n', error.Message);
    }
}
