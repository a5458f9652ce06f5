using System.Text;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// A printable character for each byte, in which byte-level vocabularies are written: printable Latin-1 stands for itself, the other 68 bytes, in order, for U+0100 and on.
/// Source: GPT-2's <c>encoder.py</c>.
/// </summary>
internal static class ByteAlphabet
{
    private static readonly char[] Characters = MakeCharacters();
    private static readonly short[] Bytes = MakeBytes();

    /// <summary>The character of a byte.</summary>
    public static char CharacterOf(byte value) => Characters[value];

    /// <summary>The bytes that a token is written for; null where it has a character that stands for none.</summary>
    public static byte[]? Decode(string token)
    {
        var bytes = new byte[token.Length];
        for (int i = 0; i < bytes.Length; i++)
        {
            if (token[i] >= Bytes.Length || Bytes[token[i]] < 0)
                return null;
            bytes[i] = (byte)Bytes[token[i]];
        }
        return bytes;
    }

    /// <summary>How bytes are written.</summary>
    public static string Encode(ReadOnlySpan<byte> bytes)
    {
        var token = new StringBuilder(bytes.Length);
        foreach (byte value in bytes)
            token.Append(Characters[value]);
        return token.ToString();
    }

    private static char[] MakeCharacters()
    {
        var characters = new char[256];
        int others = 0;
        for (int value = 0; value < 256; value++)
            characters[value] = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? (char)value : (char)(256 + others++);
        return characters;
    }

    private static short[] MakeBytes()
    {
        var bytes = new short[Characters.Max() + 1];
        Array.Fill(bytes, (short)-1);
        for (int value = 0; value < 256; value++)
            bytes[Characters[value]] = (short)value;
        return bytes;
    }
}
