using System.Threading.Channels;
using ScratchMamba.Generation;

namespace ScratchMamba.Server;

/// <summary>A prompt that waits to be continued, once or in several ways.</summary>
/// <param name="Prompt">At least one token.</param>
/// <param name="Sampler">How tokens are chosen; each further choice has the next seed.</param>
/// <param name="Most">The most tokens to write.</param>
/// <param name="Stops">The text ends before any of these.</param>
/// <param name="LogProbabilities">How many of the most probable tokens are told of at each place; null for none, not even the chosen one.</param>
/// <param name="FirstIndex">The number of the first choice.</param>
/// <param name="Choices">How many texts.</param>
/// <param name="Output">Where they go, piece by piece.</param>
/// <param name="Cancellation">Cancelled when nobody waits for them any more.</param>
internal sealed record TextRequest(
    int[] Prompt, Sampler Sampler, int Most, string[] Stops, int? LogProbabilities, int FirstIndex, int Choices, ChannelWriter<Piece> Output, CancellationToken Cancellation);

/// <summary>What one more token has added to a text.</summary>
/// <param name="Index">The number of the choice.</param>
/// <param name="Text">What can be shown now: nothing while a character or a stop string is half there.</param>
/// <param name="Token">The token; null where the text only ends.</param>
/// <param name="Probabilities">What was asked of its probability and of the most probable ones'.</param>
/// <param name="Finish">Why the text ends here: stop or length; null while it goes on.</param>
/// <param name="Fault">What went wrong, in one line; the text ends.</param>
internal readonly record struct Piece(int Index, string Text, int? Token, TokenProbability[]? Probabilities, string? Finish, string? Fault = null);

/// <summary>A token and the logarithm of its probability.</summary>
internal readonly record struct TokenProbability(int Token, double Log);
