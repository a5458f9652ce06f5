namespace ScratchMamba.Studies.Data;

/// <summary>Data of text in bytes, where what is scored are digits, and a document can be begun at any place of it.</summary>
public abstract class ByteDocuments : StudyData
{
    /// <inheritdoc/>
    public override int VocabularySize => 256;

    /// <inheritdoc/>
    public override double ChanceLoss => Math.Log(10);

    /// <inheritdoc/>
    public override string Show(int id) => ((char)id).ToString().Replace(' ', '␣').Replace('\n', '⏎');

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number) => Document(seed, number, 0);

    /// <inheritdoc/>
    public abstract override IEnumerable<MarkedToken> Document(ulong seed, ulong number, long start);
}
