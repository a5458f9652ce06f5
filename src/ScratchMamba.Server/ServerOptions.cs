using System.Net;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Server;

/// <summary>Where a server listens, and how much it takes on.</summary>
public sealed record ServerOptions
{
    /// <summary>The address to listen on.</summary>
    public IPAddress Address { get; init; } = IPAddress.Loopback;

    /// <summary>The port; 0 for any that is free.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>What clients must send as <c>Authorization: Bearer …</c>; null for nothing.</summary>
    public string? ApiKey { get; init; }

    /// <summary>The model's name, as clients give it.</summary>
    public required string ModelName { get; init; }

    /// <summary>What makes a text of the messages of a chat; null for lines that begin with who speaks.</summary>
    public ChatTemplate? Template { get; init; }

    /// <summary>How many texts are written at a time.</summary>
    public int Slots { get; init; } = 16;

    /// <summary>How many prompts may wait for a slot.</summary>
    public int Queue { get; init; } = 128;

    /// <summary>The most tokens that a request may ask for.</summary>
    public int MostTokens { get; init; } = 4096;

    /// <summary>The most tokens of a prompt.</summary>
    public int MostPromptTokens { get; init; } = 32768;

    /// <summary>The most bytes of a request's body.</summary>
    public int MostBodyBytes { get; init; } = 1 << 20;

    /// <summary>How long texts that are being written may go on when the server is asked to stop.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(10);
}
