using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli;

/// <summary>What a training reads: sources of tokens, and some that it never trains on.</summary>
/// <param name="Sources">What it trains on.</param>
/// <param name="Weights">How much of each, in proportion.</param>
/// <param name="HeldOut">What it is measured on.</param>
/// <param name="HeldOutBytes">The bytes of text that those stand for.</param>
/// <param name="Description">What there is, in words.</param>
internal sealed record TrainingData(IReadOnlyList<TokenSource> Sources, IReadOnlyList<double> Weights, int[] HeldOut, int HeldOutBytes, string Description) : IDisposable
{
    // Enough held-out text for a loss to three digits, and little enough to be read in seconds.
    private const int HeldOutLimit = 64 * 1024, HeldOutShare = 16;

    /// <summary>Text in memory.</summary>
    public static TrainingData Of(TextCorpus corpus, Tokenizer tokenizer)
    {
        int heldOutBytes = Math.Min(HeldOutLimit, corpus.HeldOut.Length);
        int[] heldOut = tokenizer.Encode(corpus.HeldOut.AsSpan(0, heldOutBytes));
        if (heldOut.Length < 2)
            throw new InvalidDataException($"The data is too short: {corpus.Training.Length + corpus.HeldOut.Length} bytes leave nothing to hold out for evaluation.");
        return new TrainingData([new TokenArray(tokenizer.Encode(corpus.Training))], [1], heldOut, heldOutBytes, $"{corpus.Training.Length:#,0} bytes to train on, {corpus.HeldOut.Length:#,0} held out");
    }

    /// <summary>Files of text or of tokens.</summary>
    /// <param name="paths">Files and folders of text, which are read whole; or files of tokens.</param>
    /// <param name="weights">How much of each file of tokens; null for as much as there is.</param>
    /// <param name="tokenizer">What makes tokens of text, and has made those of the files.</param>
    public static TrainingData Open(string[] paths, double[]? weights, Tokenizer tokenizer)
    {
        bool[] prepared = [.. paths.Select(TokenFile.Recognizes)];
        if (!prepared.Any(isTokens => isTokens))
        {
            if (weights is { Length: > 0 })
                throw new MisuseException("--weights mixes files of tokens, which 'scratchmamba data prepare' makes.");
            return Of(TextCorpus.FromBytes(TextCorpus.ReadFiles(paths)), tokenizer);
        }
        if (!prepared.All(isTokens => isTokens))
            throw new MisuseException("--data names text or files of tokens, not both at once: 'scratchmamba data prepare' makes tokens of text.");
        if (weights is { Length: > 0 } && weights.Length != paths.Length)
            throw new MisuseException($"--weights needs a number for each of the {paths.Length} files of --data; there are {weights.Length}.");
        var files = new List<TokenFile>();
        try
        {
            string hash = Convert.ToHexStringLower(TokenFilePreparation.HashOf(tokenizer));
            foreach (string path in paths)
            {
                var file = new TokenFile(path);
                files.Add(file);
                if (file.TokenizerHash != hash)
                    throw new MisuseException($"{path} was prepared with another tokenizer; name that one by --tokenizer{(file.TokenizerHash.AsSpan().ContainsAnyExcept('0') ? "" : ", which for bytes is left out")}.");
            }
            return Of(files, weights is { Length: > 0 } ? weights : [.. files.Select(file => (double)file.Count)], tokenizer);
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <summary>Closes files.</summary>
    public void Dispose()
    {
        foreach (TokenSource source in Sources)
            source.Dispose();
    }

    /// <summary>The end of each file is held out.</summary>
    private static TrainingData Of(List<TokenFile> files, double[] weights, Tokenizer tokenizer)
    {
        var sources = new List<TokenSource>();
        var heldOut = new List<int>();
        foreach (TokenFile file in files)
        {
            long apart = Math.Min(HeldOutLimit / files.Count, file.Count / HeldOutShare), kept = file.Count - apart;
            var tokens = new int[apart];
            file.Read(kept, tokens);
            heldOut.AddRange(tokens);
            sources.Add(kept > 0 ? file.Part(0, kept) : file);
        }
        if (heldOut.Count < 2)
            throw new InvalidDataException($"{files[0].Name} is too short: its tokens leave nothing to hold out for evaluation.");
        return new TrainingData(
            sources, weights, [.. heldOut], heldOut.Sum(token => tokenizer.Decode(token).Length),
            $"{sources.Sum(source => source.Count):#,0} tokens of {files.Sum(file => file.Documents):#,0} documents to train on, {heldOut.Count:#,0} held out");
    }
}
